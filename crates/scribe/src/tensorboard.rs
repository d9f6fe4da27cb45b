//! Scalars for TensorBoard: an event file is a row of records (TFRecord), each a small protobuf
//! message.
//!
//! A record is its length, the masked checksum of that, the message, the masked checksum of that.
//! Source: `tensorflow/core/lib/io/record_writer.h`, `core/util/event.proto` and
//! `core/framework/summary.proto` of TensorFlow 2.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What every event file begins with.
const FILE_VERSION: &[u8] = b"brain.Event:2";
/// `SessionLog.status` of a process that begins: what an earlier one told of this step and later
/// ones is dropped.
const STATUS_START: u64 = 1;
/// Added to the turned checksum, so that the checksum of a record in a record is none of its own.
const MASK: u32 = 0xa282_ead8;
/// The polynomial of CRC-32C (Castagnoli), bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Event files that may begin in one second before no name is left for another.
const FILES_A_SECOND_MAX: u32 = 100;

/// A file of events that is being written.
#[derive(Debug)]
pub(crate) struct EventFile<W> {
    out: W,
}

impl EventFile<File> {
    /// Begins a file in a folder, beside those of processes before; `seconds` are those since 1970.
    ///
    /// # Errors
    ///
    /// An error of the operating system if no file can be made there.
    pub(crate) fn create(folder: &Path, seconds: f64) -> io::Result<Self> {
        // TensorBoard reads files in the order of their names: the time has ten digits until 2286.
        let name = |again| format!("events.out.tfevents.{:010.0}.scribe.{again}", seconds.floor());
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for again in 0..FILES_A_SECOND_MAX {
            match File::create_new(folder.join(name(again))) {
                Ok(file) => return Self::begin(file, seconds),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl<W: Write> EventFile<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub(crate) fn begin(out: W, seconds: f64) -> io::Result<Self> {
        let mut file = Self { out };
        let mut event = Message::of_event(seconds, 0);
        event.bytes(3, FILE_VERSION);
        file.record(&event)?;
        Ok(file)
    }

    /// Says that a run goes on after a step: what was told of later ones is dropped.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub(crate) fn resume(&mut self, seconds: f64, step: u64) -> io::Result<()> {
        let mut log = Message::default();
        log.number(1, STATUS_START);
        let mut event = Message::of_event(seconds, step + 1);
        event.bytes(7, &log.0);
        self.record(&event)
    }

    /// Tells numbers of a step by their names, in one record.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub(crate) fn scalars(
        &mut self,
        seconds: f64,
        step: u64,
        scalars: &[(&str, f64)],
    ) -> io::Result<()> {
        let mut summary = Message::default();
        for (name, number) in scalars {
            let mut value = Message::default();
            value.bytes(1, name.as_bytes());
            value.float(2, *number);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::of_event(seconds, step);
        event.bytes(5, &summary.0);
        self.record(&event)
    }

    /// Writes a record in one piece, so that a process that is killed leaves whole ones.
    fn record(&mut self, message: &Message) -> io::Result<()> {
        let length = (message.0.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_checksum(&length).to_le_bytes());
        record.extend(&message.0);
        record.extend(masked_checksum(&message.0).to_le_bytes());
        self.out.write_all(&record)
    }
}

/// A protobuf message: fields, each a key and a value.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// `Event` with `wall_time` and `step`.
    fn of_event(seconds: f64, step: u64) -> Self {
        let mut event = Self::default();
        event.key(1, 1);
        event.0.extend(seconds.to_le_bytes());
        if step > 0 {
            event.number(2, step);
        }
        event
    }

    fn number(&mut self, field: u8, number: u64) {
        self.key(field, 0);
        self.variable(number);
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, 2);
        self.variable(bytes.len() as u64);
        self.0.extend(bytes);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits")]
    fn float(&mut self, field: u8, number: f64) {
        self.key(field, 5);
        self.0.extend((number as f32).to_le_bytes());
    }

    /// The number of a field below 16, and how its value is written.
    fn key(&mut self, field: u8, kind: u8) {
        self.0.push(field << 3 | kind);
    }

    /// Seven bits in each byte, the lowest first; the eighth says that more follow.
    fn variable(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}

/// The checksum of a record's part: CRC-32C, turned by 15 bits, plus a constant.
fn masked_checksum(bytes: &[u8]) -> u32 {
    checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

/// CRC-32C. A table of its own costs less than a crate: a few hundred bytes are summed in each step.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let next = |sum: u32, &byte: &u8| {
        let [low, ..] = sum.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
    };
    !bytes.iter().fold(!0, next)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, sum) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
        ] {
            assert_eq!(checksum(bytes), sum);
        }
    }

    /// The bytes that `tensorboard` 2.21.0 writes for the same events: see `fixtures/README.md`.
    #[test]
    fn records_are_those_of_tensorboard() {
        let mut file = EventFile::begin(Vec::new(), 1.5e9).unwrap();
        file.resume(1.5e9 + 1.0, 299).unwrap();
        file.scalars(1.5e9 + 2.25, 300, &[("loss", 0.5), ("learning rate", 1e-3)]).unwrap();
        let golden = include_bytes!("../../../fixtures/tensorboard-golden.tfevents");
        assert_eq!(file.out, golden);
    }

    #[test]
    fn a_second_file_of_a_second_stands_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            EventFile::create(folder.path(), 1.5e9 + 0.9).unwrap();
        }
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let expected = [0, 1].map(|n| format!("events.out.tfevents.1500000000.scribe.{n}"));
        assert_eq!(names, expected);
    }
}
