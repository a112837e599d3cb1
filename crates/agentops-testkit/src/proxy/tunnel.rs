//! Tunnels: `CONNECT` is read, TLS ended, and the connection given to the model server.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Asked;
use super::authority::Authority;
use crate::model::Tunnel;

/// The longest head of a request to the proxy itself.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Takes in connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router, authority: Arc<Authority>, asked: Arc<Mutex<Vec<Asked>>>) {
    let (sender, tunnels) = mpsc::channel(1);
    let answered = axum::serve(Tunnels(tunnels), router.into_make_service_with_connect_info::<Tunnel>());
    let accepted = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (sender, authority, asked) = (sender.clone(), Arc::clone(&authority), Arc::clone(&asked));
            tokio::spawn(async move {
                // Whatever broke, the client has seen it.
                if let Ok(Some(tunnel)) = open(stream, &authority, &asked).await {
                    let _ = sender.send(tunnel).await;
                }
            });
        }
    };
    tokio::select! {
        _ = answered => {}
        () = accepted => {}
    }
}

/// Reads what the client wants and opens the tunnel, or refuses it.
async fn open(
    mut stream: TcpStream,
    authority: &Authority,
    asked: &Mutex<Vec<Asked>>,
) -> io::Result<Option<(TlsStream<TcpStream>, Tunnel)>> {
    stream.set_nodelay(true)?;
    let head = read_head(&mut stream).await?;
    let line = head.lines().next().unwrap_or_default();
    let target = target(line);
    let config = target.and_then(|(host, _)| authority.serve_as(host, &["http/1.1"]));
    let note = |entry| asked.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    let (Some((_, target)), Some(config)) = (target, config) else {
        note(Asked::Refused(line.into()));
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
        stream.shutdown().await?;
        return Ok(None);
    };
    note(Asked::Tunnel(target.into()));
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    Ok(Some((stream, Tunnel(target.into()))))
}

/// The host, and host and port as one, of a request line that asks for a tunnel to the port of HTTPS.
fn target(line: &str) -> Option<(&str, &str)> {
    let (target, version) = line.strip_prefix("CONNECT ")?.split_once(' ')?;
    let (host, port) = target.rsplit_once(':')?;
    (port == "443" && !host.is_empty() && version.starts_with("HTTP/1.")).then_some((host, target))
}

/// Everything up to the empty line; a client says no more before it has its answer.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Open tunnels, as a server takes connections.
struct Tunnels(mpsc::Receiver<(TlsStream<TcpStream>, Tunnel)>);

impl Listener for Tunnels {
    type Io = TlsStream<TcpStream>;
    type Addr = Tunnel;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(tunnel) => tunnel,
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Tunnel::default())
    }
}

impl Connected<IncomingStream<'_, Tunnels>> for Tunnel {
    fn connect_info(stream: IncomingStream<'_, Tunnels>) -> Self {
        stream.remote_addr().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tunnels_to_the_port_of_https_are_opened() {
        assert_eq!(target("CONNECT a.example:443 HTTP/1.1"), Some(("a.example", "a.example:443")));
        for line in
            ["CONNECT a.example:80 HTTP/1.1", "CONNECT :443 HTTP/1.1", "GET http://a.example/ HTTP/1.1", "CONNECT a:443"]
        {
            assert_eq!(target(line), None, "{line}");
        }
    }
}
