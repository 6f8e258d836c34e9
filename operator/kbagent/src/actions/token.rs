//! The token that opens this pod's agent for changes: read for every call, so that a rotated Secret is effective at
//! once. While it is replaced a second one opens as well, which lies beside it.

use std::path::PathBuf;

/// Name of the second token's file: the key of the Secret.
const ALSO: &str = "also";

/// There is nothing to compare with, or to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to authorize: this pod has no token file, or it is empty")]
pub struct NoToken;

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

    /// The token, for calls of this pod's own.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self) -> Result<String, NoToken> {
        let text = std::fs::read_to_string(&self.path).map_err(|_| NoToken)?;
        let token = text.trim();
        if token.is_empty() {
            Err(NoToken)
        } else {
            Ok(token.to_owned())
        }
    }

    /// All that open: the token, and the second one if there is one.
    ///
    /// # Errors
    /// When there is no token: a second one alone opens nothing.
    pub fn all(&self) -> Result<Vec<String>, NoToken> {
        let mut all = vec![self.read()?];
        let also = std::fs::read_to_string(self.path.with_file_name(ALSO)).unwrap_or_default();
        let also = also.trim();
        if !also.is_empty() {
            all.push(also.to_owned());
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_no_token_and_a_second_one_alone_opens_nothing() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("token");
        let token = Token::new(path.clone());
        assert_eq!(token.all(), Err(NoToken), "no file");
        let write = |file: &str, text: &str| {
            std::fs::write(dir.path().join(file), text).expect("write");
        };
        write("token", "\n");
        assert_eq!(token.all(), Err(NoToken));
        write("token", "s3cret\n");
        assert_eq!(token.all(), Ok(vec!["s3cret".to_owned()]));
        write("token", "rotated");
        write("also", "s3cret\n");
        let both = vec!["rotated".to_owned(), "s3cret".to_owned()];
        assert_eq!(token.all(), Ok(both));
        assert_eq!(
            token.read().as_deref(),
            Ok("rotated"),
            "the first one is sent"
        );
        write("also", "\n");
        assert_eq!(token.all(), Ok(vec!["rotated".to_owned()]));
        write("also", "s3cret");
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(token.all(), Err(NoToken));
    }
}
