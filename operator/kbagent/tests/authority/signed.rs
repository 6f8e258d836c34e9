//! Signed requests: two agents of one component, and a pod that reads their traffic.

use hyper::StatusCode;
use kbagent::http::Opens;
use kbagent_protocol::{
    Asked, Authorization, Nonce, PATH_ACTION, PATH_CLOCK, PATH_GETROLE, PATH_HANDOFF, SEEN,
};

use super::agent::{Agent, TOKEN};

#[tokio::test]
async fn a_recorded_request_opens_nothing_again_and_no_other_agent() {
    let (one, other) = (
        Agent::start(0, 0, "signed").await,
        Agent::start(0, 1, "signed").await,
    );
    let recorded = one.signed(PATH_HANDOFF, "").await;
    assert!(!recorded.contains(TOKEN));
    let refused = |(status, why): (StatusCode, String)| {
        assert!(!why.contains(TOKEN) && !why.contains(&recorded), "{why}");
        (status, why)
    };
    let (status, _) = refused(other.send(PATH_HANDOFF, &recorded, "").await);
    assert_eq!(status, StatusCode::FORBIDDEN, "at another pod");
    let (status, _) = refused(one.send(PATH_ACTION, &recorded, "").await);
    assert_eq!(status, StatusCode::FORBIDDEN, "of another path");
    let query = format!("{PATH_HANDOFF}?x=1");
    let (status, _) = refused(one.send(&query, &recorded, "").await);
    assert_eq!(status, StatusCode::FORBIDDEN, "with another query");
    let (status, _) = refused(one.send(PATH_HANDOFF, &recorded, "{}").await);
    assert_eq!(status, StatusCode::FORBIDDEN, "with another body");
    // None of these took its place.
    let (status, why) = one.send(PATH_HANDOFF, &recorded, "").await;
    assert_eq!(status, StatusCode::OK, "{why}");
    let (status, why) = refused(one.send(PATH_HANDOFF, &recorded, "").await);
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{why}");
    assert!(why.contains("taken before"), "{why}");
}

#[tokio::test]
async fn the_token_itself_opens_only_an_agent_that_is_told_so() {
    let (new, old) = (
        Agent::start(1, 0, "signed").await,
        Agent::start(1, 1, "bearer").await,
    );
    assert_eq!(new.hand_over_bearer().await, Ok(StatusCode::FORBIDDEN));
    assert_eq!(
        old.hand_over_bearer().await,
        Ok(StatusCode::OK),
        "an operator of before"
    );
    for agent in [&new, &old] {
        let signed = agent.hand_over(agent.opens(TOKEN, Authorization::Signed));
        assert_eq!(signed.await, Ok(StatusCode::OK));
        for header in ["", "Bearer", "Kbagent-HMAC-SHA256", "Basic eDp4"] {
            let (status, _) = agent.send(PATH_HANDOFF, header, "").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{header:?}");
        }
        let role = agent.get(PATH_GETROLE).await.expect("an answer");
        assert_eq!(
            role.0,
            StatusCode::SERVICE_UNAVAILABLE,
            "readable, and no etcd"
        );
    }
}

#[tokio::test]
async fn nothing_is_signed_for_who_does_not_know_the_token_or_is_another_pod() {
    let agent = Agent::start(2, 0, "signed").await;
    let another = Opens {
        pod: "c-etcd-9",
        ..agent.opens(TOKEN, Authorization::Signed)
    };
    let refused = agent.hand_over(another).await.expect_err("another pod");
    assert!(refused.contains("another pod"), "{refused}");
    let guessed = agent.opens("guessed", Authorization::Signed);
    let refused = agent.hand_over(guessed).await.expect_err("another token");
    assert!(refused.contains("does not know the token"), "{refused}");
    for bad in [
        "",
        "?nonce=",
        "?nonce=zz",
        "?nonce=0123456789ABCDEF0123456789ABCDEF",
    ] {
        let answer = agent.get(&format!("{PATH_CLOCK}{bad}")).await;
        let (status, _) = answer.expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn both_tokens_sign_while_one_is_replaced() {
    let agent = Agent::start(3, 0, "signed").await;
    let write = |file: &str, text: &str| {
        std::fs::write(agent.dir.path().join(file), text).expect("write");
    };
    let signed = |token| agent.hand_over(agent.opens(token, Authorization::Signed));
    write("also", "the-next-token");
    for token in [TOKEN, "the-next-token"] {
        assert_eq!(signed(token).await, Ok(StatusCode::OK), "{token}");
    }
    write("token", "the-next-token");
    write("also", "");
    assert_eq!(signed("the-next-token").await, Ok(StatusCode::OK));
    signed(TOKEN).await.expect_err("it opens nothing any more");
}

#[tokio::test]
async fn floods_of_clocks_and_of_wrong_signatures_shut_no_caller_out() {
    let agent = Agent::start(4, 0, "signed").await;
    let recorded = agent.signed(PATH_HANDOFF, "").await;
    assert_eq!(
        agent.send(PATH_HANDOFF, &recorded, "").await.0,
        StatusCode::OK
    );
    let nonce = Nonce([7; 16]);
    let asked = Asked {
        method: "POST",
        target: PATH_HANDOFF,
        body: b"",
    };
    let clock = agent.clock(nonce).await;
    for n in 0..SEEN + 50 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let header = clock.sign("guessed", Nonce(bytes), &asked);
        let (status, _) = agent.send(PATH_HANDOFF, &header, "").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let signed = agent.opens(TOKEN, Authorization::Signed);
    assert_eq!(agent.hand_over(signed).await, Ok(StatusCode::OK));
    let (status, _) = agent.send(PATH_HANDOFF, &recorded, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "it is still known");
}
