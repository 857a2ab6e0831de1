//! What is JSON by its grammar, and yet cannot be stored or read everywhere: one store would take it, another refuse it, and
//! not every language could read it.

/// Longest number, bytes, and largest exponent.
const NUMBER_BYTES_MAX: usize = 1_000;
const EXPONENT_MAX: i32 = 400;

/// Says what of a valid JSON text is half a character, or a number out of range; `None` if nothing is.
pub(crate) fn fault(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => match string(json, at + 1) {
                Ok(end) => end,
                Err(lone) => {
                    let escape = json.get(lone..lone + 6).unwrap_or_default();
                    return Some(format!("`{escape}` at byte {lone} is half of a character"));
                }
            },
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = at + bytes[at..].iter().take_while(|b| is_part(b)).count();
                let number = &json[at..end];
                if !is_in_range(number) {
                    let shown: String = number.chars().take(40).collect();
                    let rest = if shown.len() < number.len() { "…" } else { "" };
                    return Some(format!(
                        "the number `{shown}{rest}` at byte {at} is too large or too long; use a string"
                    ));
                }
                end
            }
            _ => at + 1,
        };
    }
    None
}

/// Where a string ends whose text starts at `at`; or where in it half of a pair stands alone.
fn string(json: &str, mut at: usize) -> Result<usize, usize> {
    let bytes = json.as_bytes();
    loop {
        match bytes.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match escaped(json, at) {
                Some(0xd800..=0xdbff) if matches!(escaped(json, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
                Some(0xd800..=0xdfff) => return Err(at),
                Some(_) => at += 6,
                None => at += 2,
            },
            Some(_) => at += 1,
        }
    }
}

/// The code unit that `\uXXXX` at this place stands for.
fn escaped(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

fn is_in_range(number: &str) -> bool {
    let exponent = number.split_once(['e', 'E']).map_or(Ok(0), |(_, exponent)| exponent.parse::<i32>());
    number.len() <= NUMBER_BYTES_MAX
        && exponent.is_ok_and(|e| e.abs() <= EXPONENT_MAX)
        && number.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_store_and_language_can_read_passes() {
        for json in [
            "null",
            r#""\ud83d\ude00 \\ud800 \" \u0000 é""#,
            r#"{"1e999": [-0.5e-3, 1e308, 12345678901234567890123, 0, -1E+2, 1e-400], "a": {}}"#,
            r#"["\\", "1e400", "\\\\ud800"]"#,
        ] {
            assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{json}");
            assert_eq!(fault(json), None, "{json}");
        }
    }

    #[test]
    fn half_characters_and_numbers_out_of_range_do_not() {
        let digits = "1".repeat(1_001);
        let fraction = format!("0.{digits}");
        for (json, says) in [
            (r#""\ud800""#, "`\\ud800` at byte 1"),
            (r#"{"a": "é\udc00"}"#, "`\\udc00` at byte 9"),
            (r#"["\ud800\ud800\udc00"]"#, "`\\ud800` at byte 2"),
            (r#"{"\ud800x": 1}"#, "`\\ud800` at byte 2"),
            ("[1, -1e400]", "`-1e400` at byte 4"),
            ("1e400000", "`1e400000`"),
            ("1e-400000", "`1e-400000`"),
            ("1e99999999999", "`1e99999999999`"),
            (&digits, "…`"),
            (&fraction, "…`"),
        ] {
            assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{json}");
            let said = fault(json).unwrap_or_else(|| panic!("{json} passed"));
            assert!(said.contains(says), "{json}: {said}");
        }
    }
}
