//! PURE: what the API server said, for people: its message, and what to do where that is known.

/// An error of one step, such as `list pods`.
pub(crate) fn failed(step: &str, error: &kube::Error) -> anyhow::Error {
    anyhow::anyhow!("failed to {step}: {}", plain(error))
}

/// The message of an answer without its structure, or the error as it is.
pub(crate) fn plain(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return error.to_string();
    };
    let said = match status.message.is_empty() {
        true => format!("the API server answers {}", status.code),
        false => status.message.clone(),
    };
    match status.code {
        401 => format!("{said}: log in again, or choose another --context"),
        403 => format!("{said}: ask for that right; docs/tasks.md lists what this plugin needs"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn error(code: u16, message: &str) -> kube::Error {
        let status = Status::failure(message, "Reason").with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn an_answer_is_told_without_its_structure() {
        let text = failed("list pods", &error(403, "pods is forbidden")).to_string();
        let head = "failed to list pods: pods is forbidden: ask for that right";
        assert!(text.starts_with(head) && !text.contains("Status"), "{text}");
        assert_eq!(
            plain(&error(400, "address not allowed")),
            "address not allowed"
        );
        assert_eq!(plain(&error(503, "")), "the API server answers 503");
        assert!(plain(&error(401, "Unauthorized")).contains("--context"));
    }
}
