//! What comes before HTTP on a connection, such as TLS.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Lets connections in. A connection that waits here holds its place, for as long as a head may take.
pub trait Door: Clone + Send + Sync + 'static {
    /// What HTTP is spoken on.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// What is known of the caller: an extension of each of its requests.
    type Link: Clone + Send + Sync + 'static;

    /// The connection, when it may be spoken on.
    fn enter(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Self::Link)>> + Send;
}

/// Lets every connection in as it is.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Door for Open {
    type Stream = TcpStream;
    type Link = ();

    async fn enter(&self, stream: TcpStream) -> io::Result<(TcpStream, ())> {
        Ok((stream, ()))
    }
}
