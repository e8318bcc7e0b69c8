//! Whether the store can be used. A file is only looked at: making it, or bringing its schema up to date, is for `serve`. A
//! PostgreSQL is opened as `serve` does it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use codex_zammad_bridge::clock::SystemClock;
use codex_zammad_bridge::store::{DatabaseSettings, Routes, SqliteStore};
use rustix::fs::{Access, access};

use super::{Finding, text};

/// The beginning of every SQLite file (<https://sqlite.org/fileformat2.html#the_database_header>), and where in the header
/// the schema's version stands.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;

pub(super) async fn finding(database: &DatabaseSettings) -> Finding {
    if let DatabaseSettings::Sqlite(file) = database {
        return of_file(&file.path);
    }
    let place = database.place();
    match database.open(Routes::default(), Arc::new(SystemClock)).await {
        Ok(store) => {
            store.close().await;
            Finding::right(text(format!("The store {place} can be opened."), format!("Хранилище {place} открывается.")))
        }
        Err(fault) => Finding::wrong(
            text(
                format!("The store {place} cannot be opened: {fault}"),
                format!("Хранилище {place} не открывается: {fault}"),
            ),
            text(
                "Start the database, or correct BRIDGE_DATABASE_URL.",
                "Запустите базу данных или исправьте BRIDGE_DATABASE_URL.",
            ),
        ),
    }
}

/// Of a store in a file.
fn of_file(path: &Path) -> Finding {
    let shown = path.display();
    let unusable = |problem: String, en: &str, ru: &str| {
        Finding::wrong(
            text(
                format!("The store {shown} cannot be used: {problem}"),
                format!("Хранилищем {shown} нельзя пользоваться: {problem}"),
            ),
            text(en, ru),
        )
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return unusable(
            format!("there is no folder {}", folder.display()),
            "Make the folder, or correct BRIDGE_DATABASE_URL.",
            "Создайте папку или исправьте BRIDGE_DATABASE_URL.",
        );
    }
    // The journal and the lock stand beside the file.
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        return unusable(
            format!("nothing can be written in {}: {error}", folder.display()),
            "Give the bridge's user the folder (chown), or correct BRIDGE_DATABASE_URL.",
            "Отдайте папку пользователю моста (chown) или исправьте BRIDGE_DATABASE_URL.",
        );
    }
    let header = match File::open(path).and_then(header_of) {
        Ok(header) => header,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::right(text(
                format!("The store {shown} is not there yet; it is made when the bridge starts."),
                format!("Хранилища {shown} ещё нет: оно создаётся при запуске моста."),
            ));
        }
        Err(error) => {
            return unusable(
                error.to_string(),
                "Give the bridge's user the file (chown), or correct BRIDGE_DATABASE_URL.",
                "Отдайте файл пользователю моста (chown) или исправьте BRIDGE_DATABASE_URL.",
            );
        }
    };
    if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK) {
        return unusable(
            format!("it cannot be written: {error}"),
            "Give the bridge's user the file (chown).",
            "Отдайте файл пользователю моста (chown).",
        );
    }
    // An empty file is a store that is about to be made.
    if !header.is_empty() && !header.starts_with(MAGIC) {
        return unusable(
            "it is no database".to_owned(),
            "Correct BRIDGE_DATABASE_URL, or move the file away.",
            "Исправьте BRIDGE_DATABASE_URL или уберите файл.",
        );
    }
    let version = header.get(USER_VERSION_AT..USER_VERSION_AT + 4).and_then(|bytes| bytes.try_into().ok());
    let version = version.map_or(0, u32::from_be_bytes);
    if version > SqliteStore::SCHEMA_VERSION {
        return unusable(
            format!("its schema has version {version}, this program knows up to {}", SqliteStore::SCHEMA_VERSION),
            "Run the newer program.",
            "Запустите более новую программу.",
        );
    }
    Finding::right(text(format!("The store {shown} is there."), format!("Хранилище {shown} на месте.")))
}

fn header_of(file: File) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Weight;

    #[test]
    fn files_are_told_apart_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            std::fs::write(folder.path().join(name), content).unwrap();
            name.to_owned()
        };
        let mut newer = MAGIC.to_vec();
        newer.resize(HEADER_BYTES, 0);
        newer[USER_VERSION_AT + 3] = 99;
        let cases = [
            ("new.db".to_owned(), Weight::Right, "is not there yet"),
            (file("empty.db", b""), Weight::Right, "is there"),
            (file("letter.db", b"a letter to somebody"), Weight::Wrong, "it is no database"),
            (file("newer.db", &newer), Weight::Wrong, "its schema has version 99"),
            ("no/folder.db".to_owned(), Weight::Wrong, "there is no folder"),
            (".".to_owned(), Weight::Wrong, "cannot be used"),
        ];
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let before = names();
        for (name, weight, words) in cases {
            let finding = of_file(&folder.path().join(&name));
            assert_eq!((finding.weight, finding.what.en.contains(words)), (weight, true), "{name}: {finding:?}");
            assert_eq!(finding.remedy.is_some(), weight != Weight::Right, "{name}");
        }
        assert_eq!(names(), before);
    }
}
