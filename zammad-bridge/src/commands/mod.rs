//! The commands of the program.

mod check;
mod desk;
mod records;
mod serve;
mod setup;

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use codex_zammad_bridge::bridge::jambonz_api;
use codex_zammad_bridge::config::keys::{self, Group};
use codex_zammad_bridge::config::{CONFIG_FILE, ENV_FILE, Places, Settings};
use codex_zammad_bridge::{Error, Result};

/// The end of `--help`: where settings come from, and all of them.
static SETTINGS_HELP: LazyLock<String> = LazyLock::new(|| {
    let mut help = format!(
        "Settings:\n  They come from, the strongest first: --set KEY=VALUE, the environment, {ENV_FILE} (or --env-file), \
         {CONFIG_FILE} (or --config).\n  In the TOML file names may be in lower case; secrets are not taken from the command \
         line.\n"
    );
    for (group, heading) in Group::ALL {
        help.push_str(&format!("\n  {heading}:\n"));
        for key in keys::ALL.iter().filter(|key| key.group == group) {
            help.push_str(&format!("    {}\n        {}\n", key.name, key.help.trim()));
        }
    }
    help.push_str(
        "\nSeveral Zammads: [[zammad]] tables in the TOML file, each with name, applications, cti_url and, if it differs from \
         the above, url, api_token, ticket_mode, record_lang …\n\nFirst steps:\n  1. In Zammad: Admin > Integrations > CTI \
         (generic), switch it on, copy the URL: ZAMMAD_CTI_URL.\n  2. In jambonz' portal: Account, the webhook secret: \
         JAMBONZ_WEBHOOK_SECRET.\n  3. The application's present call_hook becomes UPSTREAM_CALL_HOOK; its hooks become \
         https://<this bridge>/jambonz/call and /jambonz/status, both POST. `setup` does that.\n  4. `codex-zammad-bridge \
         check` says what is still wrong; then `codex-zammad-bridge serve`.\n",
    );
    help
});

/// Shows every call of jambonz in Zammad: readable, in order, none lost.
///
/// The bridge stands between jambonz and the voice application. It takes the application's hooks, keeps what they say on
/// disk before it answers, passes calls on to the application, and tells Zammad: in the caller log, and by tickets.
#[derive(Debug, Parser)]
#[command(name = "codex-zammad-bridge", version, after_long_help = SETTINGS_HELP.as_str())]
pub(crate) struct Arguments {
    #[command(flatten)]
    places: PlacesArguments,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from.
#[derive(Debug, Args)]
struct PlacesArguments {
    /// The configuration file (TOML); by default zammad-bridge.toml, if it is there.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The file of environment variables; by default .env, if it is there.
    #[arg(long, value_name = "FILE", global = true)]
    env_file: Option<PathBuf>,
    /// One setting, such as --set BRIDGE_LISTEN=127.0.0.1:9000; can be given several times. Not for secrets.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take calls, keep them and tell Zammad, until SIGTERM or Ctrl-C.
    Serve,
    /// Look at everything that must be right - jambonz' key and hooks, the application, Zammad's tokens and permissions - and
    /// say what to do about what is not. Changes nothing; ends with 1 if something is wrong.
    Check {
        /// The language of the findings.
        #[arg(long, value_enum, default_value_t = check::Language::En)]
        lang: check::Language,
    },
    /// Point an application's hooks at this bridge (BRIDGE_PUBLIC_URL), by jambonz' API.
    ///
    /// Where they pointed before is kept in a file, so that --undo can bring it back.
    Setup {
        /// Name or GUID of the application.
        #[arg(long, value_name = "NAME")]
        application: String,
        /// Bring back what was before.
        #[arg(long)]
        undo: bool,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// The file in which is kept what was before; by default `zammad-bridge-setup-<guid>.json`.
        #[arg(long, value_name = "FILE")]
        memory: Option<PathBuf>,
    },
    /// Say what waits to be told to Zammad, and what is on the dead-letter shelf; ends with 1 if something is.
    ///
    /// While a bridge runs it is asked (BRIDGE_LISTEN, BRIDGE_ADMIN_TOKEN), as with the commands below.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take calls off the dead-letter shelf, so that Zammad is told of them again.
    Replay {
        /// The record; without it all that are on the shelf.
        #[arg(long, value_name = "ID")]
        record: Option<i64>,
    },
    /// Erase everything about people from a client's calls, beyond recovery. Tickets in Zammad that hold it are named.
    Forget {
        /// The client's id, as customerData.clientId has it.
        #[arg(long, value_name = "ID")]
        client_id: String,
    },
    /// Move everything from a file into a PostgreSQL database that several bridges share, with no loss and nothing told
    /// twice. Start the bridges on the database, stop the one on the file, then run this.
    Migrate {
        /// The file, as BRIDGE_DATABASE_URL named it: sqlite:///var/lib/zammad-bridge/calls.db
        #[arg(long, value_name = "URL")]
        from: String,
        /// The database: postgres://user:password@host/database. By default BRIDGE_DATABASE_URL, which keeps the password
        /// off the command line.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
    /// Write records to standard output, one JSON object a line, the youngest first.
    Export {
        /// Of this client alone.
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
    },
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is not KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Runs what was asked for: whether all went well.
///
/// # Errors
///
/// What went wrong, for people.
pub(crate) fn run(arguments: Arguments) -> Result<bool> {
    let PlacesArguments { config, env_file, set } = arguments.places;
    let places = Places { set, env_file, config_file: config };
    let settings = Settings::load(&places, |name| std::env::var(name).ok())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Error::Configuration {
            setting: "the machine".to_owned(),
            problem: format!("no threads can be started: {error}"),
            remedy: "raise the limits of the process".to_owned(),
        })?;
    runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::serve(settings).await,
            Command::Check { lang } => check::check(&settings, lang).await,
            Command::Setup { application, undo, dry_run, memory } => {
                let api = jambonz_api(&settings)?.ok_or_else(|| Error::Configuration {
                    setting: "JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY, JAMBONZ_ACCOUNT_SID".to_owned(),
                    problem: "they are not set, and hooks are changed by jambonz' API".to_owned(),
                    remedy: "take them from jambonz' portal, Account".to_owned(),
                })?;
                let wanted = setup::SetUp { application: &application, undo, dry_run, memory: memory.as_deref() };
                setup::set_up(&settings, &api, &wanted).await
            }
            Command::Status { json } => records::status(&settings, json).await,
            Command::Replay { record } => records::replay(&settings, record).await,
            Command::Forget { client_id } => records::forget(&settings, client_id).await,
            Command::Migrate { from, to } => records::migrate(&settings, &from, to.as_deref()).await,
            Command::Export { client_id } => records::export(&settings, client_id).await,
        }
    })
}
