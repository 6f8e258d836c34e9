//! IO: log lines of a cluster's pods.

use anyhow::{Context as _, bail};
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use kube::{Client, ResourceExt};

use crate::failed::{failed, plain};
use crate::out;

/// Longest line that is kept in one piece.
const LONGEST: usize = 64 * 1024;

/// What is to be shown.
pub(crate) struct Asked {
    /// One pod; all when left out.
    pub(crate) pod: Option<String>,
    pub(crate) container: String,
    pub(crate) params: LogParams,
}

/// Shows lines of these pods: one pod after the other, or, followed, as they come.
pub(crate) async fn logs(
    client: &Client,
    namespace: &str,
    pods: &[Pod],
    asked: &Asked,
) -> anyhow::Result<()> {
    let names = chosen(pods, asked)?;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = LogParams {
        container: Some(asked.container.clone()),
        ..asked.params.clone()
    };
    let prefixed = names.len() > 1;
    let mut streams: Vec<BoxStream<'_, anyhow::Result<String>>> = Vec::new();
    for name in names {
        let head = if prefixed {
            format!("[{name}] ")
        } else {
            String::new()
        };
        match api.log_stream(&name, &params).await {
            Ok(reader) => {
                let broken = format!("the logs of {name} have broken off");
                let lines = lines(reader, head).map(move |line| line.context(broken.clone()));
                streams.push(lines.boxed());
            }
            // A member that has not started yet must not hide the logs of the others.
            Err(error) if prefixed => out::note(&format!("{name}: no logs: {}", plain(&error))),
            Err(error) => return Err(failed(&format!("read logs of {name}"), &error)),
        }
    }
    if streams.is_empty() {
        bail!(
            "no pod gave logs: kubectl describe pod, or --previous for a container that has ended"
        );
    }
    let any = told(streams, params.follow, |line| Ok(out::say(line)?)).await?;
    if !any {
        out::note("no lines: the container has not started, or wrote nothing in that time");
    }
    Ok(())
}

/// Tells the lines of all, as they come when they are followed; whether there were any. One that breaks off does not
/// end the others.
async fn told(
    streams: Vec<BoxStream<'_, anyhow::Result<String>>>,
    follow: bool,
    mut say: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let mut left = streams.len();
    let mut lines = match follow {
        true => stream::select_all(streams).boxed(),
        false => stream::iter(streams).flatten().boxed(),
    };
    let mut any = false;
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                say(&line)?;
                any = true;
            }
            Err(error) => {
                left -= 1;
                if left == 0 {
                    return Err(error);
                }
                out::note(&format!("{error:#}"));
            }
        }
    }
    Ok(any)
}

/// Names of the pods that are meant.
fn chosen(pods: &[Pod], asked: &Asked) -> anyhow::Result<Vec<String>> {
    let known: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    let meant: Vec<&Pod> = match &asked.pod {
        None => pods.iter().collect(),
        Some(name) => pods.iter().filter(|pod| pod.name_any() == *name).collect(),
    };
    if meant.is_empty() {
        let pod = asked.pod.as_deref().unwrap_or_default();
        bail!(
            "the cluster has no pod {pod}: --pod one of {}",
            known.join(", ")
        );
    }
    for pod in &meant {
        let spec = pod.spec.iter();
        let containers = spec.flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
        let containers: Vec<&str> = containers
            .map(|container| container.name.as_str())
            .collect();
        if !containers.contains(&asked.container.as_str()) {
            bail!(
                "{} has no container {}: --container one of {}",
                pod.name_any(),
                asked.container,
                containers.join(", ")
            );
        }
    }
    Ok(meant.into_iter().map(ResourceExt::name_any).collect())
}

/// Lines of a reader, each with the head before it and its end; a longer line than [`LONGEST`] is cut into several.
fn lines(
    reader: impl AsyncBufRead + Send + Unpin,
    head: String,
) -> impl futures::Stream<Item = anyhow::Result<String>> + Send {
    stream::try_unfold((reader, head), |(mut reader, head)| async move {
        let mut line = Vec::new();
        loop {
            let read = reader.fill_buf().await.context("failed to read logs")?;
            if read.is_empty() {
                break;
            }
            let rest = &read[..read.len().min(LONGEST - line.len())];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let take = end.map_or(rest.len(), |at| at + 1);
            line.extend_from_slice(&rest[..take]);
            reader.consume_unpin(take);
            if end.is_some() || line.len() >= LONGEST {
                break;
            }
        }
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        let text = format!("{head}{}\n", text.trim_end_matches('\n'));
        Ok(Some((text, (reader, head))))
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use futures::executor::block_on;

    use super::*;
    use crate::test_support::seen;

    fn split(text: &[u8]) -> Vec<String> {
        block_on(lines(text, "> ".to_owned()).boxed().try_collect()).expect("lines")
    }

    #[test]
    fn lines_have_their_head_and_their_end() {
        assert_eq!(split(b"a\n\nb"), ["> a\n", "> \n", "> b\n"]);
        assert_eq!(split(b"\xff\n"), ["> \u{fffd}\n"]);
        assert!(split(b"").is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LONGEST * 2 + 1];
        let sizes: Vec<usize> = split(&long).iter().map(String::len).collect();
        assert_eq!(sizes, [LONGEST + 3, LONGEST + 3, 1 + 3]);
    }

    #[test]
    fn logs_that_break_off_do_not_end_the_others() {
        let of = |lines: &[Option<&str>]| -> BoxStream<'static, anyhow::Result<String>> {
            let lines = lines.iter().map(|line| match line {
                Some(line) => Ok((*line).to_owned()),
                None => Err(anyhow::anyhow!("the connection is gone")),
            });
            stream::iter(lines.collect::<Vec<_>>()).boxed()
        };
        for follow in [true, false] {
            let mut seen = Vec::new();
            let say = |line: &str| {
                seen.push(line.to_owned());
                Ok(())
            };
            let broken = of(&[Some("a1"), None]);
            let whole = of(&[Some("b1"), Some("b2"), Some("b3")]);
            let any = block_on(told(vec![broken, whole], follow, say)).expect("lines");
            seen.sort();
            assert!(any);
            assert_eq!(seen, ["a1", "b1", "b2", "b3"], "follow: {follow}");
            let none = block_on(told(vec![of(&[None]), of(&[None])], follow, |_| Ok(())));
            assert_eq!(
                none.expect_err("all have").to_string(),
                "the connection is gone"
            );
            let closed = |_: &str| anyhow::bail!("the reader has gone");
            let lines = vec![of(&[Some("a1")]), of(&[Some("b1")])];
            assert!(block_on(told(lines, follow, closed)).is_err());
        }
    }

    #[test]
    fn pods_and_containers_that_are_not_there_are_refused_with_those_that_are() {
        let asked = |pod: Option<&str>, container: &str| Asked {
            pod: pod.map(str::to_owned),
            container: container.to_owned(),
            params: LogParams::default(),
        };
        let pods = seen().pods;
        let chosen = |asked: Asked| chosen(&pods, &asked).map_err(|error| error.to_string());
        assert_eq!(chosen(asked(None, "etcd")).expect("pods").len(), 2);
        assert_eq!(
            chosen(asked(Some("db-etcd-1"), "kbagent")),
            Ok(vec!["db-etcd-1".to_owned()])
        );
        let text = chosen(asked(Some("x"), "etcd")).expect_err("a refusal");
        assert!(
            text.ends_with("--pod one of db-etcd-0, db-etcd-1"),
            "{text}"
        );
        let text = chosen(asked(None, "x")).expect_err("a refusal");
        assert!(text.ends_with("--container one of etcd, kbagent"), "{text}");
    }
}
