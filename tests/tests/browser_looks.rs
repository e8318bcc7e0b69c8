//! What the element looks like in each of its states: axe-core's opinion, and pictures (kept with `--keep`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_e2e::npm_package::{STRICT_POLICY, site};
use codex_e2e::peers::{Chromium, Page};
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};
use codex_e2e::web_site::WebSite;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(170);
const STATES: [&str; 17] = [
    "closed",
    "idle",
    "asking",
    "connecting",
    "ringing",
    "connected",
    "keypad",
    "muted",
    "weak",
    "held",
    "reconnecting",
    "lost",
    "incoming",
    "ended",
    "denied",
    "busy",
    "noConnection",
];
/// The rules of WCAG 2.2 AA and axe's own advice.
const AXE: &str = "(async () => {
    const script = Object.assign(document.createElement('script'), { src: '/build/besides/axe.min.js' });
    if (!window.axe) await new Promise((resolve, reject) => {
        Object.assign(script, { onload: resolve, onerror: reject });
        document.head.append(script);
    });
    // What moves is looked at where it comes to rest.
    for (const one of [document, widget.shadowRoot].flatMap((root) => root.getAnimations())) if (one.effect.getTiming().iterations !== Infinity) one.finish();
    const { violations } = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.flat().join(' ') + ' ' + node.any.map((one) => one.message).join()).join('; ')}`);
})()";

async fn show(page: &mut Page, site: &WebSite, state: &str, more: &str) -> Fallible<()> {
    page.go(&site.url(&format!("/page/gallery.html?state={state}&{more}"))).await?;
    page.evaluate("(async () => { while (!window.shown) await new Promise((resolve) => setTimeout(resolve, 10)); })()")
        .await?;
    Ok(())
}

async fn keep(page: &mut Page, stage: &Stage, name: &str) -> Fallible<()> {
    let picture = STANDARD.decode(page.screenshot().await?)?;
    tokio::fs::write(stage.folder().join(format!("{name}.png")), picture).await?;
    Ok(())
}

#[tokio::test]
async fn every_state_is_accessible_in_both_themes_and_fits_a_telephone() -> Result<(), Failure> {
    Scenario::new("every_state_is_accessible_in_both_themes_and_fits_a_telephone", LIMIT)
        .play(async |stage| {
            // The scripts of axe-core are not made for Trusted Types.
            let policy = STRICT_POLICY.replace("; require-trusted-types-for 'script'", "");
            let site = site(&[], &[&policy]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/gallery.html")).await?;
            page.resize(360, 640).await?;
            let mut found = Vec::new();
            for state in STATES {
                for (theme, locale) in [("light", "ru"), ("dark", "en")] {
                    show(&mut page, &site, state, &format!("theme={theme}&locale={locale}")).await?;
                    let said = page.evaluate(AXE).await?;
                    keep(&mut page, stage, &format!("{state}-{theme}-360")).await?;
                    found.extend(said.as_array().into_iter().flatten().map(|one| format!("{state}, {theme}: {one}")));
                    // Nothing is wider than the page, and every button is as large as a finger needs (WCAG 2.5.8: 24 pixels).
                    let outside = page
                        .evaluate(
                            "[...widget.shadowRoot.querySelectorAll('button, select, .card')].filter((one) => one.checkVisibility())
                                .map((one) => [one.getAttribute('part') ?? one.className, one.getBoundingClientRect()])
                                .filter(([, box]) => box.left < 0 || box.right > innerWidth || box.top < 0 || box.width < 24 || box.height < 24)
                                .map(([name]) => name)",
                        )
                        .await?;
                    if outside != json!([]) {
                        found.push(format!("{state}, {theme}: too small or outside at 360 pixels: {outside}"));
                    }
                }
            }
            assert!(found.is_empty(), "{}", found.join("\n"));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn variants_reduced_motion_forced_colours_and_right_to_left_hold() -> Result<(), Failure> {
    Scenario::new("variants_reduced_motion_forced_colours_and_right_to_left_hold", LIMIT)
        .play(async |stage| {
            let policy = STRICT_POLICY.replace("; require-trusted-types-for 'script'", "");
            let site = site(&[], &[&policy]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/gallery.html")).await?;
            page.resize(800, 700).await?;
            let mut found = Vec::new();
            for variant in ["card", "inline"] {
                for state in ["idle", "connected", "keypad", "incoming", "denied", "ended"] {
                    show(&mut page, &site, state, &format!("theme=light&locale=ru&variant={variant}")).await?;
                    let said = page.evaluate(AXE).await?;
                    keep(&mut page, stage, &format!("{state}-{variant}")).await?;
                    found.extend(said.as_array().into_iter().flatten().map(|one| format!("{state}, {variant}: {one}")));
                }
            }
            assert!(found.is_empty(), "{}", found.join("\n"));
            let media = |name: &str, value: &str| json!({ "features": [{ "name": name, "value": value }] });
            page.command("Emulation.setEmulatedMedia", media("prefers-reduced-motion", "reduce")).await?;
            show(&mut page, &site, "ringing", "theme=light").await?;
            let moving = "document.getAnimations({ subtree: true }).length + widget.shadowRoot.getAnimations().length";
            assert_eq!(page.evaluate(moving).await?, json!(0));
            page.command("Emulation.setEmulatedMedia", media("forced-colors", "active")).await?;
            for state in ["idle", "connected", "muted"] {
                show(&mut page, &site, state, "theme=light").await?;
                keep(&mut page, stage, &format!("{state}-forced-colors")).await?;
                let bordered = "[...widget.shadowRoot.querySelectorAll('button')].filter((one) => one.checkVisibility())
                    .every((one) => parseFloat(getComputedStyle(one).borderTopWidth) >= 1)";
                assert_eq!(page.evaluate(bordered).await?, json!(true), "{state}");
            }
            page.command("Emulation.setEmulatedMedia", json!({ "features": [] })).await?;
            // In a page from right to left the element's own texts stay what they are; texts of the page's own may go with it.
            // Keys stay in the order that everybody knows, the button is below the card's edge, and the place is what was said.
            for (dir, mirrored) in [("dir=rtl", false), ("dir=rtl&own-dir=rtl", true)] {
                for state in ["idle", "connected", "denied", "keypad"] {
                    show(&mut page, &site, state, &format!("theme=light&{dir}")).await?;
                    keep(&mut page, stage, &format!("{state}-{}", dir.replace(['=', '&'], "-"))).await?;
                }
                let order = page
                    .evaluate(
                        "(() => {
                            const box = (selector) => widget.shadowRoot.querySelector(selector).getBoundingClientRect();
                            const at = (key) => box(`[data-key='${key}']`).left;
                            const card = box('.card');
                            return [
                                at(1) < at(2) && at(2) < at(3), innerWidth - card.right < card.left,
                                Math.abs(box('.launcher').right - card.right) < 1, box('.heading').left < box('.icon').left,
                            ];
                        })()",
                    )
                    .await?;
                assert_eq!(order, json!([true, true, true, !mirrored]), "{dir}");
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn texts_and_languages_can_be_replaced() -> Result<(), Failure> {
    Scenario::new("texts_and_languages_can_be_replaced", LIMIT)
        .play(async |stage| {
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/gallery.html")).await?;
            show(&mut page, &site, "idle", "locale=ru&labels=%7B%22call%22:%22%D0%9F%D0%BE%D0%B5%D1%85%D0%B0%D0%BB%D0%B8%22%7D").await?;
            let word = |part: &str| format!("widget.shadowRoot.querySelector('[part={part}]').textContent");
            assert_eq!(page.evaluate(&word("call")).await?, "Поехали");
            assert_eq!(page.evaluate(&word("status")).await?, "Поговорите с нами прямо здесь");
            // A choice of the visitor's is the call's language, and the texts'.
            show(&mut page, &site, "idle", "languages=ru,en").await?;
            let chosen = page
                .evaluate(
                    "(async () => {
                        widget.removeAttribute('locale');
                        const select = widget.shadowRoot.querySelector('[part=language]');
                        select.value = 'ru';
                        select.dispatchEvent(new Event('change', { bubbles: true }));
                        await new Promise((resolve) => setTimeout(resolve));
                        return [client.done.find(([name]) => name === 'setLanguage'), widget.shadowRoot.querySelector('[part=heading]').textContent];
                    })()",
                )
                .await?;
            assert_eq!(chosen, json!([["setLanguage", "ru"], "Голосовой помощник"]));
            let value: Value = page.evaluate("[widget.language, widget.languages.map((one) => one.label)]").await?;
            assert_eq!(value, json!(["ru", ["Русский", "English"]]));
            Ok(())
        })
        .await
}
