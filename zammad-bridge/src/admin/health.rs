//! Whether the bridge is ready to take calls, and if not, why and what to do.

use serde::Serialize;
use serde_json::{Value, json};

use crate::call_book::Channel;
use crate::clock::UnixMillis;
use crate::delivery::{CircuitState, LinkStatus};
use crate::error::Error;
use crate::store::StoreHealth;

/// Something that is wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable word for programs, such as `store_disk_full` or `circuit_open`.
    pub code: String,
    /// What is wrong and what to do, in English. No secret, nothing of a caller.
    pub en: String,
    /// The same in Russian.
    pub ru: String,
}

/// Everything that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What keeps the bridge from taking calls as it should.
    pub faults: Vec<Reason>,
    /// What else is wrong: calls are taken and kept, but something is delayed.
    pub warnings: Vec<Reason>,
}

impl Report {
    /// Whether calls can be taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.faults.is_empty()
    }

    /// For those who may look at the admin page: everything, in words.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"ready": self.is_ready(), "reasons": self.faults, "warnings": self.warnings})
    }

    /// As `GET /readyz` answers anybody: codes alone, since the words name hosts and files.
    #[must_use]
    pub fn codes_json(&self) -> Value {
        let codes =
            |reasons: &[Reason]| -> Vec<Value> { reasons.iter().map(|one| json!({"code": one.code})).collect() };
        json!({"ready": self.is_ready(), "reasons": codes(&self.faults), "warnings": codes(&self.warnings)})
    }
}

/// What is wrong with the store.
#[must_use]
pub fn of_store(health: &StoreHealth) -> Vec<Reason> {
    let StoreHealth::Failing { since, error } = health else { return Vec::new() };
    let ru = match error {
        Error::StoreDiskFull { .. } => "диск хранилища заполнен: освободите место, и мост продолжит сам".to_owned(),
        Error::StoreDamaged { .. } => {
            "файл хранилища повреждён: остановите мост, уберите файл (или верните копию) и запустите снова".to_owned()
        }
        Error::StoreInUse { path } => {
            format!("{path} открыт другим мостом: остановите его или задайте другой BRIDGE_DATABASE_URL")
        }
        Error::StoreTooNew { found, known } => {
            format!("схема хранилища версии {found}, эта программа знает до {known}: запустите более новую программу")
        }
        Error::StoreRefuses { .. } => "хранилище больше ничего не принимает: слишком много ждёт записи".to_owned(),
        _ => "запись в хранилище не удалась: смотрите журнал моста".to_owned(),
    };
    vec![Reason {
        code: error.code().to_owned(),
        en: format!(
            "{error} (since {since}; calls go on, but their events are refused and sent again by jambonz only if its hook URL asks for retries)"
        ),
        ru: format!(
            "{ru} (с {since}; звонки идут, но события не принимаются, а jambonz повторяет их, только если это задано в адресе хука)"
        ),
    }]
}

/// What is wrong for those who receive, should the store itself think that it works: it is too slow for a call to wait.
#[must_use]
pub fn of_receiving(failing_since: Option<UnixMillis>) -> Option<Reason> {
    let since = failing_since?;
    Some(Reason {
        code: "store_too_slow".to_owned(),
        en: format!(
            "events have not been kept in time since {since}; look at the disk and at the bridge's log (calls go on, tagged)"
        ),
        ru: format!("с {since} события не сохраняются вовремя: проверьте диск и журнал моста (звонки идут, с тегом)"),
    })
}

/// The Zammads that nothing is sent to at the moment.
#[must_use]
pub fn of_links(links: &[LinkStatus]) -> Vec<Reason> {
    let open = links.iter().filter_map(|link| match &link.circuit {
        CircuitState::Open { since, refused, reason, .. } => Some((link, since, *refused, reason)),
        CircuitState::Closed => None,
    });
    open.map(|(link, since, refused, reason)| {
        let (channel, channel_ru) = match link.channel {
            Channel::CallerLog => ("caller log", "журнал звонков"),
            Channel::Ticket => ("tickets", "заявки"),
        };
        let (code, then, then_ru) = if refused {
            ("zammad_refuses", "a person has to mend this", "это должен исправить человек")
        } else {
            ("zammad_away", "the bridge tries again by itself", "мост пробует снова сам")
        };
        Reason {
            code: code.to_owned(),
            en: format!("{channel}, since {since}: {reason} ({then}; calls are kept and told then)"),
            ru: format!("{channel_ru}, с {since}: {reason} ({then_ru}; звонки хранятся и будут переданы)"),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_works_is_no_reason_and_one_that_fails_is_named_in_both_languages() {
        assert!(of_store(&StoreHealth::Working).is_empty());
        let error = Error::StoreDiskFull { detail: "database or disk is full".to_owned() };
        let reasons = of_store(&StoreHealth::Failing { since: UnixMillis::new(0), error });
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].code, "store_disk_full");
        assert!(reasons[0].en.contains("free space") && reasons[0].ru.contains("освободите место"));
        let report = Report { faults: reasons, warnings: Vec::new() };
        assert!(!report.is_ready());
        let told = json!({"ready": false, "reasons": [{"code": "store_disk_full"}], "warnings": []});
        assert_eq!(report.codes_json(), told, "anybody may ask: no text");
    }

    #[test]
    fn warnings_do_not_make_it_unready() {
        let warning = Reason { code: "circuit_open".to_owned(), en: "a".to_owned(), ru: "б".to_owned() };
        let report = Report { faults: Vec::new(), warnings: vec![warning] };
        assert!(report.is_ready());
        assert_eq!(report.json()["warnings"][0]["ru"], "б");
        assert_eq!(report.codes_json()["warnings"], json!([{"code": "circuit_open"}]));
    }

    #[test]
    fn a_zammad_that_refuses_is_told_apart_from_one_that_is_away() {
        let link = |circuit| LinkStatus {
            zammad: "default".into(),
            channel: Channel::CallerLog,
            circuit,
            under_way: 0,
            spared: 0,
            renewed: 0,
            last_delivered_at: None,
        };
        let open = |refused| CircuitState::Open {
            since: UnixMillis::ZERO,
            retry_at: UnixMillis::ZERO,
            refused,
            reason: "default: 401".to_owned(),
        };
        let reasons = of_links(&[link(CircuitState::Closed), link(open(true)), link(open(false))]);
        let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(codes, ["zammad_refuses", "zammad_away"]);
        assert!(reasons[0].en.contains("default: 401") && reasons[0].ru.contains("человек"), "{reasons:?}");
    }

    #[test]
    fn slowness_is_a_fault_since_when_it_began() {
        assert_eq!(of_receiving(None), None);
        let reason = of_receiving(Some(UnixMillis::ZERO)).unwrap();
        assert!(reason.en.contains("1970-01-01T00:00:00.000Z"), "{reason:?}");
    }
}
