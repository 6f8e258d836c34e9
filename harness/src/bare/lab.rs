//! Where bare runs happen: Docker, the folder of the runs, the image of the recording client.

use std::path::PathBuf;

use bollard::Docker;

use crate::bare::plan::made_by;
use crate::bare::{BareError, leftovers};
use crate::cluster::connect_docker;
use crate::scenario::{Interrupt, Live};

/// Image of the recording client where `ETCD_HARNESS_WORKLOAD_IMAGE` names none.
const CLIENT: &str = "etcd-harness/workload:dev";

/// Where bare runs happen.
#[derive(Clone, Debug)]
pub struct BareLab {
    pub(crate) docker: Docker,
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// Where progress is printed.
    pub live: Live,
    /// Who may end a run early.
    pub interrupt: Interrupt,
    /// Image of the recording client.
    pub client_image: String,
    /// The program `harness`: one more process of it removes what this one leaves when it is killed.
    pub(crate) harness: PathBuf,
}

impl BareLab {
    /// A lab with the Docker that answers. `harness` is the program of that name: this one, or the one beside a test.
    ///
    /// # Errors
    /// When none does.
    pub async fn connect(runs: PathBuf, live: Live, harness: PathBuf) -> Result<Self, BareError> {
        let named = std::env::var("ETCD_HARNESS_WORKLOAD_IMAGE").ok();
        let named = named.filter(|image| !image.is_empty());
        Ok(Self {
            docker: connect_docker().await?,
            runs,
            live,
            interrupt: Interrupt::never(),
            client_image: named.unwrap_or_else(|| CLIENT.to_owned()),
            harness,
        })
    }

    /// Containers and networks that this process has made and not removed.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn left(&self) -> Result<Vec<String>, BareError> {
        leftovers::own(&self.docker).await
    }

    /// Looks for the images of the client and of versions of etcd.
    ///
    /// # Errors
    /// [`BareError::FindImages`] for all that are not there, with the command that makes them.
    pub(crate) async fn find_images(&self, etcd: &[String]) -> Result<(), BareError> {
        let mut versions = Vec::new();
        for image in etcd {
            if !self.has_image(image).await? && !versions.contains(image) {
                versions.push(image.clone());
            }
        }
        let client = !self.has_image(&self.client_image).await?;
        if versions.is_empty() && !client {
            return Ok(());
        }
        let remedy = remedy(&versions, client);
        versions.extend(client.then(|| self.client_image.clone()));
        let images = versions.join(", ");
        Err(BareError::FindImages { images, remedy })
    }

    async fn has_image(&self, image: &str) -> Result<bool, BareError> {
        match self.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(false),
            Err(error) => Err(BareError::docker(format!("look for image {image}"), error)),
        }
    }
}

/// The command that makes these images of etcd, and that of the client where it is missing too.
fn remedy(etcd: &[String], client: bool) -> String {
    let etcd = (!etcd.is_empty()).then(|| made_by(etcd));
    let client = client.then(|| "images/rust.sh workload".to_owned());
    let commands: Vec<String> = etcd.into_iter().chain(client).collect();
    commands.join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_makes_all_that_is_missing() {
        let images = ["v3.5.7", "v3.5.9"].map(|version| format!("etcd-harness/etcd:{version}"));
        assert_eq!(remedy(&images, false), "images/etcd.sh v3.5.7 v3.5.9");
        assert_eq!(remedy(&[], true), "images/rust.sh workload");
        let both = "images/etcd.sh v3.5.9 && images/rust.sh workload";
        assert_eq!(remedy(&images[1..], true), both);
    }
}
