//! Days and moments in PostgreSQL's binary form: any of ours is one of its.
//!
//! In the flow: `writer` → **`binary`** → PostgreSQL. Upholds AR-3: what lies beyond PostgreSQL's range is infinity,
//! never an error.

use std::error::Error;

use log_event::document::UtcDay;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// 2000-01-01, from which PostgreSQL counts, in days since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MILLIS: i64 = 10_957 * 86_400_000;
/// The first moment that PostgreSQL knows, 4714-11-24 BC, and the one after its last (`datatype/timestamp.h`).
const FIRST_MICROS: i64 = -211_813_488_000_000_000;
const END_MICROS: i64 = 9_223_371_331_200_000_000;

/// A `date`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date(pub(crate) UtcDay);

/// A `timestamptz`, from milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    fn micros(self) -> i64 {
        let micros = self.0.saturating_sub(EPOCH_MILLIS).saturating_mul(1_000);
        match micros {
            // How PostgreSQL spells infinity.
            END_MICROS.. => i64::MAX,
            ..FIRST_MICROS => i64::MIN,
            within => within,
        }
    }
}

impl ToSql for Date {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&(self.0.since_epoch() - EPOCH_DAYS).to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::DATE
    }

    to_sql_checked!();
}

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.micros().to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AR-3.
    #[test]
    fn moments_count_from_2000_and_end_in_infinity() {
        for (millis, micros) in [
            (EPOCH_MILLIS, 0),
            (EPOCH_MILLIS + 1, 1_000),
            (0, -946_684_800_000_000),
            (i64::MAX, i64::MAX),
            (i64::MIN, i64::MIN),
            (9_224_318_016_000_000, i64::MAX),
            (9_224_318_015_999_999, END_MICROS - 1_000),
        ] {
            assert_eq!(Moment(millis).micros(), micros, "{millis}");
        }
    }
}
