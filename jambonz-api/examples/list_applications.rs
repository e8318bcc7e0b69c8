//! Prints the account's applications: sid, name, and where calls go.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use std::process::ExitCode;

use codex_jambonz_api::JambonzApiClient;

const HELP: &str = "\
Prints the applications of a jambonz account: sid, name, call hook.

Usage: list_applications

Environment:
  JAMBONZ_API_BASE_URL   https://api.example.com/v1; http only for loopback addresses, such as http://127.0.0.1:3000
  JAMBONZ_API_KEY        an API key of the account
  JAMBONZ_ACCOUNT_SID    the account, a GUID
  SSL_CERT_FILE          certificates to trust in place of the system's, in PEM; needed for a private authority only
  HTTPS_PROXY            a proxy to go through, if any

Exit status: 0 done, 1 failed, 2 called wrongly.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments.first() {
        eprintln!("list_applications: unknown argument `{unknown}`\n\n{HELP}");
        return ExitCode::from(2);
    }
    match list().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("list_applications: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn list() -> codex_jambonz_api::Result<()> {
    let mut applications = JambonzApiClient::from_env()?.get_applications().await?;
    applications.sort_by(|a, b| a.name.cmp(&b.name));
    for application in applications {
        let hook = application.call_hook.as_ref().map_or("no call hook".to_owned(), |hook| hook.shown_url());
        println!("{}  {:?}  {hook}", application.application_sid, application.name);
    }
    Ok(())
}
