//! Asks a Kafka broker for metadata, in Kafka's own protocol: whether it works, and whether a topic exists; and takes a
//! topic away.
//!
//! In the flow: `kafka` (is it ready) and those that need a topic before its first record, or none. Two requests (Metadata,
//! version 4, and DeleteTopics, version 1) are all xtask ever sends to Kafka, so it needs no client. Not here: records.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt::Interrupt;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// No answer about one topic is larger.
const ANSWER_BYTES_MAX: u32 = 1 << 20;
/// Marks an answer as that to our request.
const CORRELATION: [u8; 4] = *b"logf";

/// How many brokers the one at `address` knows.
///
/// # Errors
/// When it does not answer within two seconds, or not in Kafka's protocol.
pub fn brokers_known(address: SocketAddr) -> Result<usize> {
    Ok(parse(&exchange(address, &request(None)?)?)?.brokers)
}

/// Creates `topic` as the broker creates it by itself at a first record, unless it exists, and waits until it has leaders.
///
/// # Errors
/// When that takes longer than `within`, or an end was asked for.
pub fn ensure_topic(
    address: SocketAddr,
    topic: &str,
    within: Duration,
    interrupt: &Interrupt,
) -> Result<()> {
    interrupt.wait_for(&format!("the topic `{topic}`"), within, || {
        let answer = request(Some(topic))
            .and_then(|request| exchange(address, &request))
            .and_then(|answer| parse(&answer));
        match answer {
            Ok(metadata) if metadata.topic_error == Some(0) => Ok(()),
            Ok(metadata) => Err(format!("Kafka's error code is {:?}", metadata.topic_error)),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

/// How many replicas of the topic's partitions are behind their leader.
///
/// # Errors
/// When the broker does not answer within two seconds, or a partition has no leader.
pub fn replicas_behind(address: SocketAddr, topic: &str) -> Result<usize> {
    let metadata = parse(&exchange(address, &request(Some(topic))?)?)?;
    match metadata.topic_error {
        Some(0) => Ok(metadata.replicas_behind),
        code => bail!("Kafka's error code of `{topic}` is {code:?}"),
    }
}

/// Deletes `topic` with all that is in it.
///
/// # Errors
/// When the broker does not answer, or refuses.
pub fn delete_topic(address: SocketAddr, topic: &str) -> Result<()> {
    let answer = exchange(address, &deletion(topic)?)?;
    match parse_deletion(&answer)? {
        0 => Ok(()),
        code => bail!("Kafka does not delete `{topic}`: its error code is {code}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Metadata {
    brokers: usize,
    /// Kafka's error code of the topic asked for, or of its first partition that has one; 0 is none.
    topic_error: Option<i16>,
    /// Of all its partitions.
    replicas_behind: usize,
}

fn exchange(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("it does not listen")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request).context("it does not read")?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).context("it does not answer")?;
    let size = u32::from_be_bytes(size);
    ensure!(size <= ANSWER_BYTES_MAX, "it answers in another protocol");
    let mut answer = vec![0; usize::try_from(size)?];
    stream
        .read_exact(&mut answer)
        .context("it does not finish its answer")?;
    Ok(answer)
}

fn request(topic: Option<&str>) -> Result<Vec<u8>> {
    let mut body = Vec::from(u32::from(topic.is_some()).to_be_bytes());
    if let Some(topic) = topic {
        string(&mut body, topic)?;
    }
    // The topic may be created.
    body.push(u8::from(topic.is_some()));
    framed(*b"\0\x03\0\x04", &body)
}

fn deletion(topic: &str) -> Result<Vec<u8>> {
    let mut body = Vec::from(1_u32.to_be_bytes());
    string(&mut body, topic)?;
    body.extend(u32::try_from(TIMEOUT.as_millis())?.to_be_bytes());
    framed(*b"\0\x14\0\x01", &body)
}

fn string(body: &mut Vec<u8>, text: &str) -> Result<()> {
    body.extend(u16::try_from(text.len())?.to_be_bytes());
    body.extend(text.as_bytes());
    Ok(())
}

/// A request with its header: which API in which version, which request, and who asks.
fn framed(api: [u8; 4], rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::from(api);
    body.extend(CORRELATION);
    body.extend(b"\0\x05xtask");
    body.extend(rest);
    let mut request = Vec::from(u32::try_from(body.len())?.to_be_bytes());
    request.extend(body);
    Ok(request)
}

/// Kafka's error code.
fn parse_deletion(answer: &[u8]) -> Result<i16> {
    let mut reader = Reader { rest: answer };
    ensure!(
        reader.take(4)? == CORRELATION,
        "it answers in another protocol"
    );
    reader.take(8)?; // Throttle time, number of topics.
    reader.string()?; // Topic.
    reader.i16()
}

fn parse(answer: &[u8]) -> Result<Metadata> {
    let mut reader = Reader { rest: answer };
    ensure!(
        reader.take(4)? == CORRELATION,
        "it answers in another protocol"
    );
    reader.take(4)?; // Throttle time.
    let brokers = usize::try_from(reader.i32()?)?;
    for _ in 0..brokers {
        reader.take(4)?; // Node.
        reader.string()?; // Host.
        reader.take(4)?; // Port.
        reader.string()?; // Rack.
    }
    reader.string()?; // Cluster.
    reader.take(4)?; // Controller.
    let topics = reader.i32()?;
    if topics == 0 {
        return Ok(Metadata {
            brokers,
            topic_error: None,
            replicas_behind: 0,
        });
    }
    let mut replicas_behind = 0;
    let mut error = reader.i16()?;
    reader.string()?; // Topic.
    reader.take(1)?; // Whether it is internal.
    for _ in 0..reader.i32()? {
        let of_partition = reader.i16()?;
        if error == 0 {
            error = of_partition;
        }
        reader.take(8)?; // Partition, leader.
        let mut nodes = || -> Result<usize> {
            let count = usize::try_from(reader.i32()?)?;
            reader.take(count * 4)?;
            Ok(count)
        };
        let (replicas, in_sync) = (nodes()?, nodes()?);
        replicas_behind += replicas.saturating_sub(in_sync);
    }
    Ok(Metadata {
        brokers,
        topic_error: Some(error),
        replicas_behind,
    })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            bail!("its answer is cut short")
        };
        self.rest = rest;
        Ok(taken)
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn string(&mut self) -> Result<()> {
        // -1 is the absent string.
        if let Ok(length) = usize::try_from(self.i16()?) {
            self.take(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_port_that_nothing_listens_on_is_no_broker() {
        let port = super::super::free_port().unwrap();
        let error = brokers_known(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap_err();
        assert_eq!(error.to_string(), "it does not listen");
    }

    #[test]
    fn asks_for_one_topic_or_none() {
        assert_eq!(
            request(None).unwrap(),
            b"\0\0\0\x14\0\x03\0\x04logf\0\x05xtask\0\0\0\0\0"
        );
        assert_eq!(
            request(Some("ab")).unwrap(),
            b"\0\0\0\x18\0\x03\0\x04logf\0\x05xtask\0\0\0\x01\0\x02ab\x01"
        );
    }

    #[test]
    fn asks_to_delete_a_topic_and_reads_the_error() {
        assert_eq!(
            deletion("ab").unwrap(),
            b"\0\0\0\x1b\0\x14\0\x01logf\0\x05xtask\0\0\0\x01\0\x02ab\0\0\x07\xd0"
        );
        let answer = b"logf\0\0\0\0\0\0\0\x01\0\x02ab\0\x03";
        assert_eq!(parse_deletion(answer).unwrap(), 3);
    }

    /// One broker, one topic with one partition, as Kafka lays them out.
    fn answer(topic_error: u8, partition_error: u8) -> Vec<u8> {
        let mut bytes = b"logf\0\0\0\0\0\0\0\x01\0\0\0\x01\0\x01h\0\0\0\x09\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01".to_vec();
        bytes.extend([0, topic_error]);
        bytes.extend(b"\0\x02ab\0\0\0\0\x01");
        bytes.extend([0, partition_error]);
        bytes.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01");
        bytes
    }

    #[test]
    fn reads_the_brokers_and_the_first_error() {
        assert_eq!(
            parse(&answer(0, 0)).unwrap(),
            Metadata {
                brokers: 1,
                topic_error: Some(0),
                replicas_behind: 0,
            }
        );
        let mut alone = answer(0, 0);
        let in_sync = alone.len() - 8;
        alone.truncate(in_sync);
        alone.extend([0; 4]);
        assert_eq!(parse(&alone).unwrap().replicas_behind, 1);
        assert_eq!(parse(&answer(0, 5)).unwrap().topic_error, Some(5));
        assert_eq!(parse(&answer(3, 0)).unwrap().topic_error, Some(3));
        let whole = answer(0, 0);
        assert_eq!(
            parse(&whole[..whole.len() - 1]).unwrap_err().to_string(),
            "its answer is cut short"
        );
    }
}
