//! Who has a certificate.

/// Who has the certificate, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Members: servers and clients of each other, and their agents.
    Member,
    /// Applications: clients, and no peers.
    Client,
    /// The operator, as a client of the members' agents.
    Operator,
}

impl Subject {
    /// The common name. etcd takes only members' for peers.
    #[must_use]
    pub(crate) const fn common_name(self) -> &'static str {
        match self {
            Subject::Member => "etcd-member",
            Subject::Client => "etcd-client",
            Subject::Operator => "etcd-operator",
        }
    }
}
