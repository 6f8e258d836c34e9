//! The bearer token of changes: read for every call, so that a rotated Secret is effective at once. While it is
//! replaced a second one opens as well, which lies beside it.

use std::path::PathBuf;

/// Name of the second token's file: the key of the Secret.
const ALSO: &str = "also";

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token was shown.
    #[error("failed to authorize: send the token of the Secret as \"Authorization: Bearer\"")]
    Absent,
    /// A wrong one was.
    #[error("failed to authorize: the token is not this pod's")]
    Wrong,
    /// There is nothing to compare with: every change is refused.
    #[error("failed to authorize: this pod has no token file, or it is empty")]
    Unknown,
}

/// Where the token lies.
#[derive(Debug, Clone)]
pub struct Token {
    path: PathBuf,
}

impl Token {
    /// Of the file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The token, for this pod's own commands.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn read(&self) -> Result<String, TokenError> {
        let text = std::fs::read_to_string(&self.path).map_err(|_| TokenError::Unknown)?;
        let token = text.trim();
        if token.is_empty() {
            Err(TokenError::Unknown)
        } else {
            Ok(token.to_owned())
        }
    }

    /// The second token, if there is one.
    fn also(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path.with_file_name(ALSO)).ok()?;
        let token = text.trim();
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// Checks the value of an `Authorization` header.
    ///
    /// # Errors
    /// When the caller may not change anything.
    pub fn check(&self, authorization: Option<&str>) -> Result<(), TokenError> {
        let shown = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let shown = shown.ok_or(TokenError::Absent)?.trim();
        let also = self.also();
        let second = also.is_some_and(|also| same(shown.as_bytes(), also.as_bytes()));
        if same(shown.as_bytes(), self.read()?.as_bytes()) || second {
            Ok(())
        } else {
            Err(TokenError::Wrong)
        }
    }
}

/// Compares in a time that depends on the lengths only.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_token_opens() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("token");
        let token = Token::new(path.clone());
        assert_eq!(
            token.check(Some("Bearer x")),
            Err(TokenError::Unknown),
            "no file, no entry"
        );
        std::fs::write(&path, "\n").expect("write");
        assert_eq!(
            token.check(Some("Bearer ")),
            Err(TokenError::Unknown),
            "empty opens nothing"
        );
        std::fs::write(&path, "s3cret\n").expect("write");
        let cases = [
            (None, Err(TokenError::Absent)),
            (Some("Basic s3cret"), Err(TokenError::Absent)),
            (Some("Bearer s3cre"), Err(TokenError::Wrong)),
            (Some("Bearer s3cretx"), Err(TokenError::Wrong)),
            (Some("Bearer S3cret"), Err(TokenError::Wrong)),
            (Some("Bearer s3cret"), Ok(())),
        ];
        for (shown, expected) in cases {
            assert_eq!(token.check(shown), expected, "{shown:?}");
        }
        std::fs::write(&path, "rotated").expect("write");
        assert_eq!(token.check(Some("Bearer s3cret")), Err(TokenError::Wrong));
        std::fs::write(dir.path().join("also"), "s3cret\n").expect("write");
        for both in ["Bearer s3cret", "Bearer rotated"] {
            assert_eq!(token.check(Some(both)), Ok(()), "while it is replaced");
        }
        assert_eq!(
            token.read().as_deref(),
            Ok("rotated"),
            "the first one is sent"
        );
        std::fs::write(dir.path().join("also"), "\n").expect("write");
        assert_eq!(token.check(Some("Bearer ")), Err(TokenError::Wrong));
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(
            token.check(Some("Bearer s3cret")),
            Err(TokenError::Unknown),
            "a second one alone opens nothing"
        );
    }
}
