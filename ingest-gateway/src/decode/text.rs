//! Plain text: each line is the message of an event.
//!
//! In the flow: `body` → **`decode::text`** → `decode`.

use super::event_text::{Gathered, Known, Limits, Size, lines};
use super::{Events, Fault, Form};
use crate::error::Problem;

/// Tells the lines apart; blank ones are none.
///
/// # Errors
/// A [`Problem`] if there are too many.
pub fn split<'a>(body: &'a [u8], limits: Limits<'_>) -> Result<Events<'a>, Problem> {
    let mut gathered = Gathered::new(limits);
    for line in lines(body) {
        gathered.read(Size::of_line(line), || {
            Ok(match std::str::from_utf8(line) {
                Ok(line) => Ok(Known {
                    message: Some(line.to_owned()),
                    ..Known::default()
                }
                .into_found(None)),
                Err(error) => Err(Fault {
                    code: "invalid_utf8",
                    reason: format!("not UTF-8: invalid byte at {}", error.valid_up_to()),
                }),
            })
        })?;
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: None,
    })
}
