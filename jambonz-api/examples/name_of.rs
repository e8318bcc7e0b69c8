//! Prints the name of the application that a SIP URI names.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use std::process::ExitCode;

use codex_jambonz_api::{JambonzApiClient, application_in_uri};

const HELP: &str = "\
Prints the name of the application that a SIP URI names.

Usage: name_of <sip-uri>

  <sip-uri>              sip:app-<application sid>@<domain>, sip:<application sid>@<domain>, or the sid alone

Environment:
  JAMBONZ_API_BASE_URL   https://api.example.com/v1; http only for loopback addresses, such as http://127.0.0.1:3000
  JAMBONZ_API_KEY        an API key of the account
  JAMBONZ_ACCOUNT_SID    the account, a GUID
  SSL_CERT_FILE          certificates to trust in place of the system's, in PEM; needed for a private authority only
  HTTPS_PROXY            a proxy to go through, if any

Exit status: 0 found, 1 failed or no such application, 2 called wrongly.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let uri = match arguments.as_slice() {
        [uri] if !uri.starts_with('-') => uri,
        [unknown] => {
            eprintln!("name_of: unknown argument `{unknown}`\n\n{HELP}");
            return ExitCode::from(2);
        }
        _ => {
            eprintln!("name_of: give one SIP URI\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match name_of(uri).await {
        Ok(name) => {
            println!("{name}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("name_of: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn name_of(uri: &str) -> Result<String, String> {
    // What is wrong with the URI is told before what is wrong with the settings.
    let sid = application_in_uri(uri).map_err(|error| error.to_string())?;
    let sid = sid.ok_or("this URI names no application: its user part is not a GUID, nor app- and a GUID")?;
    let client = JambonzApiClient::from_env().map_err(|error| error.to_string())?;
    let name = client.get_application_name(sid).await.map_err(|error| error.to_string())?;
    name.map(|name| name.to_string()).ok_or_else(|| format!("there is no application {sid} that this API key may see"))
}
