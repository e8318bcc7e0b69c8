//! The mock of the port, as users' own tests take it.

use codex_jambonz_api::{ApplicationName, ApplicationNames, ApplicationSid, MockApplicationNames};

#[tokio::test]
async fn the_port_can_be_mocked() {
    let sid: ApplicationSid = "0397dc5f-2f8f-4778-8499-0af934dd1196".parse().unwrap();
    let mut names = MockApplicationNames::new();
    names
        .expect_application_name()
        .withf(move |asked| *asked == sid)
        .times(1)
        .returning(|_| Ok(ApplicationName::parse("name", "voicebot").ok()));
    let port: Box<dyn ApplicationNames> = Box::new(names);
    assert_eq!(port.application_name(sid).await.unwrap().as_deref(), Some("voicebot"));
}
