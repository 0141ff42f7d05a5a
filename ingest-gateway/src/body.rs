//! Reads a request's body and inflates it: within the limit, the deadline and
//! the budget, so that no client can make the gateway hold more than it may.
//!
//! In the flow: `admission` → **`body`** → `decode`. Upholds GW-2.
//! A gzip bomb costs at most the limit: inflating stops there.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;

use crate::admission::{Reservation, Spent};
use crate::error::{Code, Problem};
use crate::headers::Encoding;

/// Compressed bodies up to here are inflated where they are read; at gzip's
/// highest ratio that is 4 MiB, a few milliseconds. Larger ones would hold up
/// the other requests of their thread, so they go to a thread of their own.
const INFLATE_INLINE_BYTES_MAX: usize = 4 << 10;
/// The first step in which an inflated body grows; it doubles from there.
const INFLATE_BYTES_MIN: usize = 16 << 10;
/// How much of a body that is too large is still read and thrown away, as a
/// multiple of the limit: a client that writes before it reads would else see
/// its connection reset instead of the 413.
const DISCARD_FACTOR: usize = 4;

/// What a body may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Before and after decompression.
    pub bytes_max: usize,
    /// For reading all of it.
    pub timeout: Duration,
}

/// A body as sent, and how many bytes that were on the wire.
#[derive(Debug)]
pub struct Received {
    /// Inflated.
    pub bytes: Bytes,
    /// As they came in.
    pub wire_bytes: usize,
}

/// Reads the whole body. Its bytes are taken from the budget before they are held.
///
/// # Errors
/// The [`Problem`] to answer with: too large, too late, broken, not in the
/// encoding announced, or no room for it now.
pub async fn read(
    body: Body,
    announced: Option<u64>,
    encoding: Encoding,
    limits: BodyLimits,
    share: &mut Reservation,
) -> Result<Received, Problem> {
    let deadline = tokio::time::sleep(limits.timeout);
    let wire = tokio::select! {
        biased;
        wire = read_wire(body, announced, limits.bytes_max, share) => wire?,
        () = deadline => {
            return Err(Problem::permanent(
                Code::RequestTimeout,
                format!("the body did not arrive within {:?}", limits.timeout),
            ));
        }
    };
    let wire_bytes = wire.len();
    let bytes = match encoding {
        Encoding::Identity => wire,
        Encoding::Gzip => {
            let bytes = inflate(wire, limits.bytes_max, share).await?;
            share.shrink_to(bytes.len());
            bytes
        }
    };
    Ok(Received { bytes, wire_bytes })
}

async fn read_wire(
    mut body: Body,
    announced: Option<u64>,
    bytes_max: usize,
    share: &mut Reservation,
) -> Result<Bytes, Problem> {
    let announced = announced.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        discard(&mut body, bytes_max).await;
        return Err(too_large(bytes_max));
    }
    let expected = announced.unwrap_or(0);
    share
        .grow(expected)
        .map_err(|Spent| Problem::overloaded())?;
    let Some(first) = next_chunk(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() == expected {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(expected);
    let mut chunk = first;
    loop {
        let bytes = whole.len() + chunk.len();
        if bytes > bytes_max {
            discard(&mut body, bytes_max).await;
            return Err(too_large(bytes_max));
        }
        whole.extend_from_slice(&chunk);
        // An unannounced body grows its buffer by doubling; all of that is held.
        let surplus = whole.capacity().saturating_sub(share.bytes());
        share.grow(surplus).map_err(|Spent| Problem::overloaded())?;
        chunk = match next_chunk(&mut body).await? {
            Some(chunk) => chunk,
            None => return Ok(whole.freeze()),
        };
    }
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::permanent(
                Code::UnreadableBody,
                format!("the body broke off or is framed wrongly: {error}"),
            )
        })?;
        match frame.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            // Trailers and empty frames carry nothing that is needed.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

async fn discard(body: &mut Body, bytes_max: usize) {
    let mut left = bytes_max.saturating_mul(DISCARD_FACTOR);
    while let Ok(Some(chunk)) = next_chunk(body).await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::permanent(
        Code::BodyTooLarge,
        format!(
            "a body may have {bytes_max} bytes, before and after decompression; send several smaller ones"
        ),
    )
}

async fn inflate(wire: Bytes, bytes_max: usize, share: &mut Reservation) -> Result<Bytes, Problem> {
    if wire.len() <= INFLATE_INLINE_BYTES_MAX {
        return inflate_here(&wire, bytes_max, share);
    }
    // A client that goes away cancels this wait but not the thread, so the
    // share travels with the bytes that it stands for.
    let mut travelling = share.split_off();
    let work = tokio::task::spawn_blocking(move || {
        let bytes = inflate_here(&wire, bytes_max, &mut travelling);
        (bytes, travelling)
    });
    match work.await {
        Ok((bytes, travelled)) => {
            share.merge(travelled);
            bytes
        }
        Err(_) => Err(Problem::permanent(
            Code::Internal,
            "inflating the body failed",
        )),
    }
}

fn inflate_here(wire: &[u8], bytes_max: usize, share: &mut Reservation) -> Result<Bytes, Problem> {
    let mut decoder = MultiGzDecoder::new(wire);
    let mut inflated = Vec::new();
    let mut len = 0;
    loop {
        if len == inflated.len() {
            // One byte beyond the limit tells a body that reaches it from one that exceeds it.
            let grown =
                (len * 2).clamp(INFLATE_BYTES_MIN, bytes_max.saturating_add(1).max(len + 1));
            share
                .grow(grown - len)
                .map_err(|Spent| Problem::overloaded())?;
            inflated.resize(grown, 0);
        }
        let n = decoder.read(&mut inflated[len..]).map_err(|error| {
            Problem::permanent(
                Code::InvalidEncoding,
                format!("the Content-Encoding says gzip, but the body is not: {error}"),
            )
        })?;
        len += n;
        if len > bytes_max {
            return Err(too_large(bytes_max));
        }
        if n == 0 {
            inflated.truncate(len);
            inflated.shrink_to_fit();
            return Ok(inflated.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Budget;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::sync::Arc;

    const LIMITS: BodyLimits = BodyLimits {
        bytes_max: 100_000,
        timeout: Duration::from_secs(5),
    };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_now(
        bytes: Vec<u8>,
        encoding: Encoding,
        budget: &Arc<Budget>,
    ) -> Result<Bytes, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut share = budget.share();
        runtime.block_on(async {
            let announced = Some(bytes.len() as u64);
            let body = Body::from(bytes);
            let received = read(body, announced, encoding, LIMITS, &mut share).await?;
            assert_eq!(share.bytes(), received.bytes.len());
            Ok(received.bytes)
        })
    }

    fn code(result: Result<Bytes, Problem>) -> Code {
        result.unwrap_err().code
    }

    #[test]
    fn a_bomb_costs_at_most_the_limit() {
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < LIMITS.bytes_max);
        // Room for the compressed body and one inflated body of the largest size, and no more.
        let budget = Budget::new(bomb.len() + LIMITS.bytes_max + 1);
        assert_eq!(
            code(read_now(bomb, Encoding::Gzip, &budget)),
            Code::BodyTooLarge
        );
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn a_body_of_just_the_limit_passes_and_one_byte_more_does_not() {
        let budget = Budget::new(1 << 20);
        let largest = vec![b' '; LIMITS.bytes_max];
        let larger = vec![b' '; LIMITS.bytes_max + 1];
        for (bytes, encoding) in [
            (largest.clone(), Encoding::Identity),
            (gzip(&largest), Encoding::Gzip),
        ] {
            assert_eq!(read_now(bytes, encoding, &budget).unwrap(), largest);
        }
        for (bytes, encoding) in [
            (larger.clone(), Encoding::Identity),
            (gzip(&larger), Encoding::Gzip),
        ] {
            assert_eq!(code(read_now(bytes, encoding, &budget)), Code::BodyTooLarge);
        }
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn a_body_that_is_not_gzip_or_ends_early_is_told_apart_from_a_bad_event() {
        let budget = Budget::new(1 << 20);
        let whole = gzip(b"{\"message\":\"a\"}");
        for bytes in [
            b"{\"message\":\"a\"}".to_vec(),
            Vec::new(),
            whole[..whole.len() - 3].to_vec(),
            [whole.as_slice(), b"garbage"].concat(),
        ] {
            assert_eq!(
                code(read_now(bytes, Encoding::Gzip, &budget)),
                Code::InvalidEncoding
            );
        }
        let twice = [whole.as_slice(), whole.as_slice()].concat();
        assert_eq!(
            read_now(twice, Encoding::Gzip, &budget).unwrap(),
            &b"{\"message\":\"a\"}{\"message\":\"a\"}"[..]
        );
    }

    #[test]
    fn a_body_without_room_is_refused_before_it_is_held() {
        let budget = Budget::new(1_000);
        let problem = read_now(vec![b' '; 1_001], Encoding::Identity, &budget).unwrap_err();
        assert_eq!(problem, Problem::overloaded());
        let problem = read_now(gzip(&vec![b' '; 50_000]), Encoding::Gzip, &budget).unwrap_err();
        assert_eq!(problem, Problem::overloaded());
        assert_eq!(budget.bytes(), 0);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
        let budget = Budget::new(1_000);
        // A body whose sender is there but sends nothing.
        let (_sender, silent) = http_body_util::channel::Channel::<Bytes>::new(1);
        let stalled = Body::new(silent);
        let mut share = budget.share();
        let limits = BodyLimits {
            timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let problem = read(stalled, None, Encoding::Identity, limits, &mut share)
            .await
            .unwrap_err();
        assert_eq!(problem.code, Code::RequestTimeout);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_deflated_is_inflated(bytes in prop::collection::vec(any::<u8>(), 0..20_000), repeat in 1_usize..8) {
            let bytes = bytes.repeat(repeat);
            let budget = Budget::new(1 << 20);
            let result = read_now(gzip(&bytes), Encoding::Gzip, &budget);
            if bytes.len() <= LIMITS.bytes_max {
                prop_assert_eq!(result.unwrap(), bytes);
            } else {
                prop_assert_eq!(code(result), Code::BodyTooLarge);
            }
            prop_assert_eq!(budget.bytes(), 0);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let budget = Budget::new(1 << 20);
            drop(read_now(bytes.clone(), Encoding::Gzip, &budget));
            // A good start makes it further into the decoder.
            let mut bytes = [&gzip(b"0123456789abcdef")[..12], &bytes].concat();
            bytes.truncate(500);
            drop(read_now(bytes, Encoding::Gzip, &budget));
            prop_assert_eq!(budget.bytes(), 0);
        }
    }
}
