//! A small HTTP proxy in front of an S3 server that does, by a seeded plan, what object storage does on bad days.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const IO_TIMEOUT: Duration = Duration::from_secs(60);

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// 503 SlowDown with a `Retry-After`; the server never sees it.
    SlowDown,
    /// The connection ends before the server saw it.
    ResetBefore,
    /// The server acts; the answer is lost.
    ResetAfter,
    /// Half of the body reaches the server, then both connections end.
    TornRequest,
    /// Half of the answer arrives.
    TornAnswer,
    /// The server gets it twice; the second answer is passed on.
    Twice,
    /// It takes longer.
    Delay,
    /// An answer of the server's that is always the same.
    Refuse(&'static str, &'static str),
    /// What AWS says of an object without a checksum where the bucket has an object lock.
    WantsChecksum,
}

/// Which requests meet which fault.
pub(crate) type Plan = dyn Fn(u64, &Request) -> Option<Fault> + Send + Sync;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    head: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<AtomicU64>,
    met: Arc<Mutex<BTreeMap<Fault, u64>>>,
    multipart: Arc<AtomicU64>,
}

impl Proxy {
    /// Lives as long as the test's process.
    pub(crate) fn start(server: SocketAddr, plan: Box<Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, met) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
        let multipart = Arc::new(AtomicU64::new(0));
        let proxy = Self { address, seen: Arc::clone(&seen), met: Arc::clone(&met), multipart: Arc::clone(&multipart) };
        let plan: Arc<Plan> = Arc::new(move |number, request: &Request| {
            multipart.fetch_add(u64::from(request.is_of_parts()), Ordering::Relaxed);
            plan(number, request)
        });
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, met, plan) = (Arc::clone(&seen), Arc::clone(&met), Arc::clone(&plan));
                // What a connection ends with is between it and the client.
                std::thread::spawn(move || serve(client, server, &seen, &met, &*plan).unwrap_or_default());
            }
        });
        proxy
    }

    pub(crate) fn requests(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Requests of multipart uploads: to begin one, for a part, to end one, to list them.
    pub(crate) fn multipart(&self) -> u64 {
        self.multipart.load(Ordering::Relaxed)
    }

    pub(crate) fn met(&self) -> BTreeMap<Fault, u64> {
        self.met.lock().unwrap().clone()
    }
}

/// Each of `faults` meets about `percent` of the requests.
pub(crate) fn seeded(seed: u64, percent: u64, faults: Vec<Fault>) -> Box<Plan> {
    Box::new(move |number, _| {
        let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
        word ^= word >> 32;
        word = word.wrapping_mul(0xd6e8_feb8_6659_fd93);
        word ^= word >> 32;
        faults.get((word % 100 / percent) as usize).copied()
    })
}

fn serve(client: TcpStream, server: SocketAddr, seen: &AtomicU64, met: &Mutex<BTreeMap<Fault, u64>>, plan: &Plan) -> io::Result<()> {
    client.set_read_timeout(Some(IO_TIMEOUT))?;
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    while let Some(request) = Request::read(&mut reader, &mut client)? {
        let fault = plan(seen.fetch_add(1, Ordering::Relaxed), &request);
        if let Some(fault) = fault {
            *met.lock().unwrap().entry(fault).or_default() += 1;
        }
        let answer = match fault {
            Some(Fault::SlowDown) => error("503 Slow Down", "SlowDown", "injected", "Retry-After: 0\r\n"),
            Some(Fault::Refuse(status, code)) => error(status, code, "injected", ""),
            Some(Fault::WantsChecksum) => {
                let said = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
                error("400 Bad Request", "InvalidRequest", said, "")
            }
            Some(Fault::ResetBefore) => return client.shutdown(Shutdown::Both),
            Some(Fault::TornRequest) => {
                let mut upstream = TcpStream::connect(server)?;
                upstream.write_all(&request.head)?;
                upstream.write_all(&request.body[..request.body.len() / 2])?;
                upstream.shutdown(Shutdown::Both)?;
                return client.shutdown(Shutdown::Both);
            }
            Some(Fault::ResetAfter) => {
                forward(server, &request)?;
                return client.shutdown(Shutdown::Both);
            }
            Some(Fault::TornAnswer) => {
                let answer = forward(server, &request)?;
                client.write_all(&answer[..answer.len() / 2])?;
                return client.shutdown(Shutdown::Both);
            }
            Some(Fault::Twice) => {
                forward(server, &request)?;
                forward(server, &request)?
            }
            Some(Fault::Delay) => {
                std::thread::sleep(Duration::from_millis(200));
                forward(server, &request)?
            }
            None => forward(server, &request)?,
        };
        client.write_all(&answer)?;
    }
    Ok(())
}

impl Request {
    fn is_of_parts(&self) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|part| ["uploads", "uploadId", "partNumber"].contains(&part.split('=').next().unwrap_or_default()))
    }

    fn read(reader: &mut impl BufRead, client: &mut TcpStream) -> io::Result<Option<Self>> {
        let (head, first, headers) = read_head(reader)?;
        let mut words = first.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        if headers.get("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method: method.into(), path: path.into(), head, headers, body }))
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, String, BTreeMap<String, String>)> {
    let (mut head, mut first, mut headers) = (Vec::new(), String::new(), BTreeMap::new());
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        head.extend_from_slice(&line);
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        match text.split_once(':') {
            _ if text.is_empty() => break,
            _ if first.is_empty() => first = text,
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => {}
        }
    }
    Ok((head, first, headers))
}

/// One request on a connection of its own; the whole answer as it came.
fn forward(server: SocketAddr, request: &Request) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(server)?;
    upstream.set_read_timeout(Some(IO_TIMEOUT))?;
    upstream.write_all(&request.head)?;
    upstream.write_all(&request.body)?;
    let mut reader = BufReader::new(upstream);
    let (mut answer, first, headers) = read_head(&mut reader)?;
    if request.method == "HEAD" || first.contains(" 204") || first.contains(" 304") {
        return Ok(answer);
    }
    if headers.get("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            answer.extend_from_slice(&line);
        }
        return Ok(answer);
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    answer.extend_from_slice(&body);
    Ok(answer)
}

fn error(status: &str, code: &str, message: &str, headers: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>\n<Message>{message}</Message></Error>");
    format!("HTTP/1.1 {status}\r\n{headers}Content-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
