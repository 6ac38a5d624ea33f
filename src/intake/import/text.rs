//! Text in UTF-8, whatever a spreadsheet has saved it as: UTF-16 is told by its byte order mark, Windows-1252 by what
//! cannot be UTF-8.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// A reader of UTF-8.
pub(super) struct Text<R> {
    input: R,
    /// `None`: it is handed on as it is.
    decoder: Option<Decoder>,
    piece: Vec<u8>,
    decoded: Vec<u8>,
    /// How much of `decoded` has been handed on.
    taken: usize,
    ended: bool,
}

impl<R> Text<R> {
    /// `head` is how the input begins.
    pub(super) fn new(input: R, head: &[u8]) -> Self {
        let decoder = match head {
            [0xff, 0xfe, ..] => Some(UTF_16LE.new_decoder_with_bom_removal()),
            [0xfe, 0xff, ..] => Some(UTF_16BE.new_decoder_with_bom_removal()),
            _ => None,
        };
        Self { input, decoder, piece: vec![0; PIECE], decoded: Vec::new(), taken: 0, ended: false }
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return self.input.read(buffer) };
        while self.taken == self.decoded.len() && !self.ended {
            let read = self.input.read(&mut self.piece)?;
            self.ended = read == 0;
            let room = decoder.max_utf8_buffer_length(read).unwrap_or(4 * PIECE);
            self.decoded.resize(room, 0);
            let piece = self.piece.get(..read).unwrap_or_default();
            // Half a pair becomes U+FFFD, which no row may hold. The room is enough for all of it.
            let (result, _, written, _) = decoder.decode_to_utf8(piece, &mut self.decoded, self.ended);
            if result == CoderResult::OutputFull {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.decoded.truncate(written);
            self.taken = 0;
        }
        let rest = self.decoded.get(self.taken..).unwrap_or_default();
        let some = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..some), rest.get(..some)) {
            to.copy_from_slice(from);
        }
        self.taken += some;
        Ok(some)
    }
}

/// What the bytes beyond ASCII mean in a file without a mark: told by the first row that has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spelling {
    #[default]
    Unknown,
    Utf8,
    Windows1252,
}

impl Spelling {
    /// What is known once these cells have been seen.
    pub(super) fn after<'a>(self, cells: impl Iterator<Item = &'a [u8]>) -> Self {
        if self != Self::Unknown {
            return self;
        }
        let mut known = Self::Unknown;
        for cell in cells.filter(|cell| !cell.is_ascii()) {
            if std::str::from_utf8(cell).is_err() {
                return Self::Windows1252;
            }
            known = Self::Utf8;
        }
        known
    }

    /// The text of a cell; `None`: it is spelt otherwise than the file. Letters of Windows-1252 happen to be UTF-8 in no
    /// word of any language: where they are, two files were put together.
    pub(super) fn read(self, cell: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
        let text = match (self, std::str::from_utf8(cell)) {
            (Self::Windows1252, Ok(text)) if text.is_ascii() => text.into(),
            (Self::Windows1252, Ok(_)) => return None,
            (Self::Windows1252, Err(_)) => WINDOWS_1252.decode_without_bom_handling(cell).0,
            (_, text) => text.ok()?.into(),
        };
        // Bytes that Windows-1252 does not have, and what was no character of UTF-16.
        let unreadable = |c: char| matches!(c, '\u{80}'..='\u{9f}' | '\u{fffd}');
        (!text.contains(unreadable)).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn utf_16_is_read_in_pieces_of_any_size() {
        let text = "id,given\nP1,Mu\u{f1}oz \u{1f600}\n".repeat(3_000);
        for big in [false, true] {
            let bytes = utf16(&text, big);
            let mut reader = Text::new(bytes.as_slice(), &bytes);
            let (mut all, mut some) = (Vec::new(), [0; 7]);
            loop {
                let read = reader.read(&mut some).unwrap();
                if read == 0 {
                    break;
                }
                all.extend_from_slice(&some[..read]);
            }
            assert!(String::from_utf8(all).unwrap() == text, "big: {big}");
        }
        let mut odd = utf16("a", false);
        odd.push(b'b');
        let mut text = String::new();
        Text::new(odd.as_slice(), &odd).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\u{fffd}", "half a character is told");
    }

    #[test]
    fn the_first_letter_beyond_ascii_tells_the_spelling_of_the_file() {
        let known = |cells: &[&[u8]]| Spelling::default().after(cells.iter().copied());
        assert_eq!(known(&[b"P1", b"Ana"]), Spelling::Unknown);
        assert_eq!(known(&[b"P1", "L\u{f3}pez".as_bytes()]), Spelling::Utf8);
        assert_eq!(known(&[b"P1", b"L\xf3pez"]), Spelling::Windows1252);
        let old = Spelling::Windows1252;
        assert_eq!(old.read(b"Mu\xf1oz \x80").as_deref(), Some("Mu\u{f1}oz \u{20ac}"));
        assert_eq!(old.read("Mu\u{f1}oz".as_bytes()), None, "two files in one");
        assert_eq!(old.read(b"\x81"), None);
        assert_eq!(Spelling::Utf8.read(b"Mu\xf1oz"), None);
        assert_eq!(Spelling::Unknown.read("\u{fffd}".as_bytes()), None);
    }
}
