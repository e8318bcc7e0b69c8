//! A web server on 127.0.0.1 for pages under test: the files of some folders, nothing else.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The site, serving until it is dropped.
#[derive(Debug)]
pub struct WebSite {
    port: u16,
    task: JoinHandle<()>,
}

impl WebSite {
    /// Serves each folder under its path, such as `/package/`. Every answer carries `headers`, lines `Name: value`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(folders: &[(&str, PathBuf)], headers: &[&str]) -> io::Result<WebSite> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let folders: Arc<[(String, PathBuf)]> =
            folders.iter().map(|(path, folder)| ((*path).to_owned(), folder.clone())).collect();
        let headers: Arc<str> = headers.iter().map(|line| format!("{line}\r\n")).collect::<String>().into();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (folders, headers) = (Arc::clone(&folders), Arc::clone(&headers));
                // A browser that goes away in the middle has had enough.
                tokio::spawn(async move {
                    let _ = serve(stream, &folders, &headers).await;
                });
            }
        });
        Ok(WebSite { port, task })
    }

    /// The address of `path`, which begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for WebSite {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, folders: &[(String, PathBuf)], headers: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let file = folders.iter().find_map(|(under, folder)| inside(folder, path.strip_prefix(under.as_str())?));
        let content = match &file {
            Some(file) => tokio::fs::read(file).await.ok(),
            None => None,
        };
        let (status, kind) = match (&content, &file) {
            (Some(_), Some(file)) => ("200 OK", kind(file)),
            _ => ("404 Not Found", "text/plain"),
        };
        let content = content.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: max-age=600\r\n{headers}\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&content).await?;
    }
}

/// The file that `path` names below `folder`; nothing that leads out of it.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| folder.join(path))
}

fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let folder = Path::new("/site");
        assert_eq!(inside(folder, "a/b.js"), Some(PathBuf::from("/site/a/b.js")));
        assert_eq!(inside(folder, "../secret"), None);
        assert_eq!(inside(folder, "/etc/passwd"), None);
    }
}
