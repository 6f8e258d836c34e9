//! Who has a certificate.

use etcd_operator_api::account;

/// Who has the certificate, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Members: servers and clients of each other, and their agents.
    Member,
    /// Applications: clients, and no peers.
    Client,
    /// Jobs of backups, where etcd has users: a client that is an administrator, and no peer.
    Backup,
    /// The operator, as a client of the members' agents.
    Operator,
}

impl Subject {
    /// The common name. etcd takes only members' for peers.
    #[must_use]
    pub(crate) const fn common_name(self) -> &'static str {
        match self {
            Subject::Member => account::MEMBER,
            Subject::Client => account::CLIENT,
            Subject::Backup => account::BACKUP,
            Subject::Operator => "etcd-operator",
        }
    }
}
