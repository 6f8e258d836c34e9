//! Where bare runs happen: Docker, the folder of the runs, the image of the recording client.

use std::path::PathBuf;

use bollard::Docker;

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
}

impl BareLab {
    /// A lab with the Docker that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn connect(runs: PathBuf, live: Live) -> Result<Self, BareError> {
        let named = std::env::var("ETCD_HARNESS_WORKLOAD_IMAGE").ok();
        let named = named.filter(|image| !image.is_empty());
        Ok(Self {
            docker: connect_docker().await?,
            runs,
            live,
            interrupt: Interrupt::never(),
            client_image: named.unwrap_or_else(|| CLIENT.to_owned()),
        })
    }

    /// Containers and networks that this process has made and not removed.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn left(&self) -> Result<Vec<String>, BareError> {
        leftovers::own(&self.docker).await
    }

    /// Looks for the images of the client and of a version of etcd.
    ///
    /// # Errors
    /// [`BareError::FindImage`] for the first that is not there, with the command that makes it.
    pub(crate) async fn find_images(&self, etcd: &str) -> Result<(), BareError> {
        let version = etcd.rsplit(':').next().unwrap_or(etcd);
        let wanted = [
            (etcd, format!("images/etcd.sh {version}")),
            (&self.client_image, "images/rust.sh workload".to_owned()),
        ];
        for (image, remedy) in wanted {
            match self.docker.inspect_image(image).await {
                Ok(_) => {}
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => {
                    return Err(BareError::FindImage {
                        image: image.to_owned(),
                        remedy,
                    });
                }
                Err(error) => {
                    return Err(BareError::docker(format!("look for image {image}"), error));
                }
            }
        }
        Ok(())
    }
}
