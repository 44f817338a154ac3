//! Names are not sealed: whoever can write there can put any.

use super::*;

#[tokio::test]
async fn a_stray_name_does_not_use_the_numbers_up() {
    let place = Place::new().await;
    let first = place.backup(0..5).await;
    place.spoil("state/fffffffffffffffe");
    place.spoil(&crate::lease::object_name(&LeaseId { state: u64::MAX - 1, random: [7; 16] }, 0));
    let second = place.backup(3..9).await;
    assert!(place.repair(RepairOptions::default()).await.is_idle());
    assert!(state::newest(&place.open().await.core).await.expect("state").number < 10);
    place.restores(first, 0..5).await;
    place.restores(second, 3..9).await;

    // The last one that counts: nothing is published that nobody would see.
    let last = state::object_name(crate::id::STATE_NUMBER_MAX);
    place.spoil(&last);
    let before = place.names("state/");
    let refused = place.open().await.begin(Purpose::new(Activity::Backup, "test")).await.err();
    assert!(refused.as_ref().is_some_and(|error| error.to_string().contains(&last)), "{refused:?}");
    assert_eq!(place.names("state/"), before);
    place.store.take(&last);
    place.backup(5..7).await;
}
