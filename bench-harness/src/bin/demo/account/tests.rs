use super::{Account, Sums};

#[test]
fn sums_tell_lost_from_duplicate_from_corrupt() {
    let mut account = Account::new(4);
    for index in [0, 1, 2] {
        account.confirm(index);
    }
    account.deliver(Some(0));
    account.deliver(Some(0));
    account.deliver(Some(1));
    account.deliver(Some(3));
    account.deliver(Some(4));
    account.deliver(None);
    assert_eq!(
        account.sums(),
        Sums {
            confirmed: 3,
            delivered: 3,
            lost: 1,
            duplicates: 1
        }
    );
    assert_eq!(account.corrupt, 2);
    account.deliver(Some(2));
    assert_eq!(account.sums().lost, 0);
}
