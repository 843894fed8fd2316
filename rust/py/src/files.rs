//! Files that are kept for good, many at a time, while other threads have the GIL.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::iter::zip;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The error of what fails without one of the system's.
const EIO: i32 = 5;

const THREADS: usize = 4;
const WORTH_A_THREAD: usize = 16;

/// What became of a file, or the system's number of the error.
type Kept<T> = Result<T, i32>;

/// Keep files for good: what each became of (list), None, or the system's number of the error (int).
///
/// `files` (list) has of each file a temporary path (str), which must be free, its place (str), and its content
/// (bytes). It is created for its owner alone, written, synced, and moved to its place, where it replaces what is
/// there; then each folder that got some is synced once. What fails before it is in its place is removed; what is
/// there, in a folder that cannot be synced, stays.
#[expect(clippy::needless_pass_by_value, reason = "what Python gives is made for the call")]
#[pyfunction]
#[pyo3(signature = (files, /))]
pub fn keep_files(py: Python<'_>, files: Vec<(PathBuf, PathBuf, Bound<'_, PyBytes>)>) -> Vec<Option<i32>> {
    let files: Vec<_> = files
        .iter()
        .map(|(temporary, place, content)| New { temporary, place, content: content.as_bytes() })
        .collect();
    py.detach(|| keep(&files)).into_iter().map(Result::err).collect()
}

struct New<'a> {
    temporary: &'a Path,
    place: &'a Path,
    content: &'a [u8],
}

impl New<'_> {
    fn begin(&self) -> Kept<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(self.temporary).map_err(code)?;
        self.or_remove(file.write_all(self.content))?;
        start_writing(&file);
        Ok(file)
    }

    fn sync(&self, file: &File) -> Kept<()> {
        self.or_remove(file.sync_all())
    }

    fn finish(&self) -> Kept<()> {
        self.or_remove(fs::rename(self.temporary, self.place))
    }

    fn or_remove(&self, result: io::Result<()>) -> Kept<()> {
        // That it fails too would be no news, and is not what the caller asks about.
        result.map_err(code).inspect_err(|_| drop(fs::remove_file(self.temporary)))
    }
}

/// Each step is taken for all of them before the next: to sync the last waits for the disk, and the others, which were
/// on their way before it, are there already, by the same commit of the file system's journal. Where there is none, an
/// inode is written once more when its octets are there: after the last, with the others of its block.
fn keep(files: &[New<'_>]) -> Vec<Kept<()>> {
    let begun: Vec<_> = files.iter().map(|new| (new, new.begin())).collect();
    let sync = |(new, begun): &(&New<'_>, Kept<File>)| {
        begun.as_ref().map_err(|code| *code).and_then(|file| new.sync(file))
    };
    let mut synced = Vec::new();
    if let Some((last, others)) = begun.split_last() {
        let last = sync(last);
        synced = for_each(others, sync);
        synced.push(last);
    }
    drop(begun);
    let placed: Vec<_> = zip(files, synced).map(|(new, synced)| synced.and_then(|()| new.finish())).collect();
    let folders: BTreeSet<_> = zip(files, &placed)
        .filter(|(_, placed)| placed.is_ok())
        .filter_map(|(new, _)| new.place.parent())
        .collect();
    let folders: Vec<_> = folders.into_iter().collect();
    let folders: BTreeMap<_, _> = zip(&folders, for_each(&folders, |folder| sync_folder(folder))).collect();
    zip(files, placed)
        .map(|(new, placed)| {
            placed.and_then(|()| new.place.parent().map_or(Ok(()), |folder| folders[&folder]))
        })
        .collect()
}

/// Does something to all, in several threads where they are many: what is synced at the same time shares the flushes of
/// the disk's cache, of which there is one a file even when all are in one commit.
fn for_each<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let do_part = |part: &[T]| part.iter().map(&work).collect::<Vec<R>>();
    let part = all.len().div_ceil(THREADS).max(WORTH_A_THREAD);
    if all.len() <= part {
        return do_part(all);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(part)
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, || do_part(part))))
            .collect();
        threads
            .into_iter()
            .flat_map(|(part, thread)| match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(done)) => done,
                _ => do_part(part), // no thread was to be had
            })
            .collect()
    })
}

/// Without this each file's sync starts its writing, waits for it and commits it alone.
#[cfg(target_os = "linux")]
fn start_writing(file: &File) {
    use rustix::fs::{Advice, fadvise};
    // A hint: what the disk does not take now, the sync tells.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_writing(_: &File) {}

fn sync_folder(folder: &Path) -> Kept<()> {
    if cfg!(unix) { File::open(folder).and_then(|folder| folder.sync_all()).map_err(code) } else { Ok(()) }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn code(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
