//! Stands before Elasticsearch and remembers the last search that was asked of it.
//!
//! In the flow: query-api → **`bench::recorder`** → Elasticsearch. One request a connection is enough for it: it answers
//! with `connection: close`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http;

const TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1 << 20;

type Search = (String, String);

/// What stands before Elasticsearch; ends with the process.
pub(super) struct Recorder {
    pub(super) url: String,
    last: Arc<Mutex<Option<Search>>>,
}

impl Recorder {
    pub(super) fn start(elasticsearch: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for the recorder")?;
        let url = format!("http://{}", listener.local_addr()?);
        let last = Arc::new(Mutex::new(None));
        let (remembered, target) = (Arc::clone(&last), elasticsearch.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (remembered, target) = (Arc::clone(&remembered), target.clone());
                std::thread::spawn(move || {
                    // A client that goes away is told by its own failure.
                    pass_on(stream, &target, &remembered).ok();
                });
            }
        });
        Ok(Self { url, last })
    }

    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Path and body of the last search since then.
    pub(super) fn last_search(&self) -> Option<Search> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn pass_on(stream: TcpStream, target: &str, last: &Mutex<Option<Search>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().context("content-length")?;
        }
    }
    let mut body = vec![0; length.min(BODY_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    if path.contains("_search") {
        let search = (path.clone(), String::from_utf8_lossy(&body).into_owned());
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(search);
    }
    let headers: &[(&str, &str)] = match length {
        0 => &[],
        _ => &[("content-type", "application/json")],
    };
    let reply = http::request(&method, &format!("{target}{path}"), headers, &body, TIMEOUT)?;
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {} reply\r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        reply.status,
        reply.body.len()
    )?;
    stream.write_all(&reply.body)?;
    Ok(())
}
