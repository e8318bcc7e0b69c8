//! Whether the store can be used. It is only looked at: making it, or bringing its schema up to date, is for `serve`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use codex_zammad_bridge::Error;
use codex_zammad_bridge::store::{DatabaseSettings, PostgresSettings, PostgresStore, SqliteStore};
use rustix::fs::{Access, access};

use super::{Finding, text};

/// The beginning of every SQLite file (<https://sqlite.org/fileformat2.html#the_database_header>), and where in the header
/// the schema's version stands.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;

pub(super) async fn findings(settings: &DatabaseSettings) -> Finding {
    match settings {
        DatabaseSettings::Sqlite(file) => of_file(&file.path),
        DatabaseSettings::Postgres(database) => of_database(database).await,
    }
}

fn cannot_be_used(shown: &str, problem: &str, en: &str, ru: &str) -> Finding {
    Finding::wrong(
        text(
            format!("The store {shown} cannot be used: {problem}"),
            format!("Хранилищем {shown} нельзя пользоваться: {problem}"),
        ),
        text(en, ru),
    )
}

fn newer(shown: &str, found: u32, known: u32) -> Finding {
    cannot_be_used(
        shown,
        &format!("its schema has version {found}, this program knows up to {known}"),
        "Run the newer program.",
        "Запустите более новую программу.",
    )
}

async fn of_database(settings: &PostgresSettings) -> Finding {
    let shown = settings.place();
    match PostgresStore::schema_version_of(settings).await {
        Ok(None) => Finding::right(text(
            format!("The database {shown} answers; its tables are made when the bridge starts."),
            format!("База данных {shown} отвечает; таблицы создаются при запуске моста."),
        )),
        Ok(Some(found)) if found > PostgresStore::SCHEMA_VERSION => newer(&shown, found, PostgresStore::SCHEMA_VERSION),
        Ok(Some(_)) => Finding::right(text(
            format!("The database {shown} answers and has the bridge's tables."),
            format!("База данных {shown} отвечает, таблицы моста на месте."),
        )),
        Err(fault @ Error::StoreAway { .. }) => cannot_be_used(
            &shown,
            &fault.to_string(),
            "Start PostgreSQL, let this machine in (pg_hba.conf), or correct BRIDGE_DATABASE_URL.",
            "Запустите PostgreSQL, разрешите вход с этой машины (pg_hba.conf) или исправьте BRIDGE_DATABASE_URL.",
        ),
        Err(fault) => cannot_be_used(
            &shown,
            &fault.to_string(),
            "Correct user, password and database in BRIDGE_DATABASE_URL.",
            "Исправьте пользователя, пароль и базу данных в BRIDGE_DATABASE_URL.",
        ),
    }
}

fn of_file(path: &Path) -> Finding {
    let shown = path.display();
    let unusable = |problem: String, en: &str, ru: &str| cannot_be_used(&shown.to_string(), &problem, en, ru);
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
        return newer(&shown.to_string(), version, SqliteStore::SCHEMA_VERSION);
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
        let mut of_later = MAGIC.to_vec();
        of_later.resize(HEADER_BYTES, 0);
        of_later[USER_VERSION_AT + 3] = 99;
        let cases = [
            ("new.db".to_owned(), Weight::Right, "is not there yet"),
            (file("empty.db", b""), Weight::Right, "is there"),
            (file("letter.db", b"a letter to somebody"), Weight::Wrong, "it is no database"),
            (file("newer.db", &of_later), Weight::Wrong, "its schema has version 99"),
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
