//! `scribe compare delete`: comparisons that shall no longer count.

use std::collections::BTreeMap;

use artifacts::hash::Digest;
use clap::Args;
use comparisons::store::{RowId, Store};
use serde::Serialize;

use super::{RoundArguments, counted};
use crate::command::Failure;
use crate::terminal::Terminal;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare delete 3f2a9c81d0b4 --run \
    runs/tiny\n\n`scribe compare show --list` shows the ids. What was deleted is not brought \
    back by an import; `scribe compare compact` takes its text off the disk.";

/// As many digits of an id are asked for as make a slip unlikely to name another row.
const ID_DIGITS_MIN: usize = 8;

/// What to delete.
#[derive(Debug, Args)]
pub struct DeleteArguments {
    /// Ids of comparisons, or their first 8 digits or more
    #[arg(required = true, value_name = "ID", value_parser = id_or_beginning)]
    ids: Vec<String>,

    #[command(flatten)]
    round: RoundArguments,
}

/// `scribe compare delete --json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    deleted: Vec<RowId>,
    /// What was made from them, and how many of them each was made from.
    artifacts: Vec<MadeFrom>,
}

/// Something that was made from what is deleted now.
#[derive(Debug, Serialize)]
struct MadeFrom {
    artifact: Digest,
    rows: usize,
}

/// Does it.
pub(super) fn run(terminal: &mut Terminal, arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut store = arguments.round.open_what_is_there(terminal)?;
    // All are found before one is deleted: a slip in the last deletes none.
    let found = arguments.ids.iter().map(|id| find(&store, id, &arguments.round));
    let mut deleted: Vec<RowId> = found.collect::<Result<_, _>>()?;
    deleted.sort_unstable();
    deleted.dedup();
    let before = store.made_from_deleted();
    let time_ms = crate::labeling::now_ms();
    deleted.iter().try_for_each(|id| store.delete(*id, time_ms))?;
    let artifacts = newly_affected(&before, &store.made_from_deleted());
    let report = Report { schema: "scribe.compare.delete/1", deleted, artifacts };
    if terminal.wants_json() {
        terminal.json(&report)?;
        return Ok(());
    }
    tell(terminal, &report, arguments)
}

fn tell(
    terminal: &mut Terminal,
    report: &Report,
    arguments: &DeleteArguments,
) -> Result<(), Failure> {
    let all = counted(report.deleted.len() as u64, "comparison");
    terminal.line(format_args!("deleted {all}"))?;
    match report.artifacts.as_slice() {
        [] => terminal.line("nothing was made from what was deleted")?,
        artifacts => {
            terminal.line("made from what was deleted, to be made anew without it:")?;
            for MadeFrom { artifact, rows } in artifacts {
                terminal.line(format_args!("  {artifact}"))?;
                terminal.line(format_args!("    {}", counted(*rows as u64, "row")))?;
            }
        }
    }
    let run = arguments.round.run.display();
    terminal.note(format_args!(
        "`scribe compare compact --run {run} --round {}` takes the texts off the disk",
        arguments.round.round
    ));
    Ok(())
}

/// The comparison that is meant.
fn find(store: &Store, id: &str, round: &RoundArguments) -> Result<RowId, Failure> {
    // A whole id may be that of an earlier version.
    if let Ok(digest) = id.parse() {
        return store.current(RowId(digest)).ok_or_else(|| unknown(id, round));
    }
    let ids: Vec<RowId> = store.answers().into_iter().map(|answer| answer.id).collect();
    let mut meant = ids.into_iter().filter(|row| row.to_string().starts_with(id));
    match (meant.next(), meant.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(unknown(id, round)),
        (Some(_), Some(_)) => Err(Failure::usage(
            format!("several comparisons have an id that begins with `{id}`"),
            "give more of its digits",
        )),
    }
}

fn unknown(id: &str, round: &RoundArguments) -> Failure {
    let (run, round) = (round.run.display(), round.round);
    Failure::not_found(
        format!("no comparison that counts has the id `{id}`; nothing was deleted"),
        format!("`scribe compare show --list --run {run} --round {round}` shows the ids"),
    )
}

/// What has more deleted rows than before, and how many more.
fn newly_affected(
    before: &BTreeMap<Digest, Vec<RowId>>,
    after: &BTreeMap<Digest, Vec<RowId>>,
) -> Vec<MadeFrom> {
    let earlier = |artifact: &Digest| before.get(artifact).map_or(0, Vec::len);
    let more = after.iter().map(|(artifact, rows)| MadeFrom {
        artifact: *artifact,
        rows: rows.len() - earlier(artifact),
    });
    more.filter(|made| made.rows > 0).collect()
}

fn id_or_beginning(text: &str) -> Result<String, String> {
    let id = text.to_ascii_lowercase();
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id && (ID_DIGITS_MIN..=64).contains(&id.len()) {
        true => Ok(id),
        false => Err(format!("an id is 64 hexadecimal digits; give {ID_DIGITS_MIN} or more")),
    }
}
