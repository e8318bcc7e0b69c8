//! One process to a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Holds an advisory lock on `<database>.lock` until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    pub(super) fn take(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |error: &std::io::Error| Error::StoreFailed {
            action: "lock its file",
            detail: format!("{}: {error}", path.display()),
        };
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::StoreInUse { path: database.display().to_string() }),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }
}
