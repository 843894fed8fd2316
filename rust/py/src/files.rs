//! Files that are kept for good, many at a time, while other threads have the GIL.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::iter::zip;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The error of what fails without one of the system's.
const EIO: i32 = 5;

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
    fn begin(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(self.temporary)?;
        self.or_remove(file.write_all(self.content))?;
        start_writing(&file);
        Ok(file)
    }

    fn finish(&self) -> io::Result<()> {
        self.or_remove(fs::rename(self.temporary, self.place))
    }

    fn or_remove(&self, result: io::Result<()>) -> io::Result<()> {
        // That it fails too would be no news, and is not what the caller asks about.
        result.inspect_err(|_| drop(fs::remove_file(self.temporary)))
    }
}

/// Each step is taken for all of them before the next: to sync the first waits for the disk, and the others, which
/// are on their way by then, are there already, by the same commit of the file system's journal.
fn keep(files: &[New<'_>]) -> Vec<Result<(), i32>> {
    let begun: Vec<_> = files.iter().map(New::begin).collect();
    let synced: Vec<_> =
        zip(files, begun).map(|(new, begun)| begun.and_then(|file| new.or_remove(file.sync_all()))).collect();
    let placed: Vec<_> =
        zip(files, synced).map(|(new, synced)| synced.and_then(|()| new.finish()).map_err(code)).collect();
    let mut folders = HashMap::new();
    zip(files, placed)
        .map(|(new, placed)| {
            placed
                .and_then(|()| *folders.entry(new.place.parent()).or_insert_with_key(|folder| sync(*folder)))
        })
        .collect()
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

fn sync(folder: Option<&Path>) -> Result<(), i32> {
    match folder {
        Some(folder) if cfg!(unix) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(code),
        _ => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn code(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
