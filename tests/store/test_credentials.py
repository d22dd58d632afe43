"""Second factors and passwords at rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.audit import OPERATOR
from store.credentials import Credentials
from store.errors import Invalid
from store.sessions import BROWSER, Sessions
from store.users import Users
from tests.store.stores import opened, run

KEY = b"k" * 32


def test_a_new_password_ends_all_sessions_but_the_one_that_set_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users, sessions, credentials = Users(database), Sessions(database), Credentials(database, KEY)
            user, other = await users.create("ada@example.org"), await users.create("bob@example.org")
            kept = await sessions.open(user.id, kind=BROWSER, name="", address="")
            ended = await sessions.open(user.id, kind=BROWSER, name="", address="")
            others = await sessions.open(other.id, kind=BROWSER, name="", address="")
            found = await sessions.find(kept, BROWSER)
            assert found is not None
            await credentials.set_password(user.id, "a hash", by=OPERATOR, keep_session=found.session_id)
            assert [await sessions.find(one, BROWSER) is None for one in (kept, ended, others)] == [
                False, True, False,
            ]  # fmt: skip
            await credentials.set_password(user.id, "another", by=OPERATOR)
            assert await sessions.find(kept, BROWSER) is None
            credential = await credentials.find(" ADA@example.org ")
            assert credential is not None and credential.password_hash == "another"

    run(test)


def test_a_closed_account_has_nothing_to_sign_in_with(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users, credentials = Users(database), Credentials(database, KEY)
            user = await users.create("ada@example.org")
            await users.disable(user.email)
            assert await credentials.find(user.email) is None and await credentials.find_id(user.id) is None

    run(test)


def test_a_provider_s_subject_is_of_one_account(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users, credentials = Users(database), Credentials(database, KEY)
            ada, bob = await users.create("ada@example.org"), await users.create("bob@example.org")
            await credentials.link(ada.id, "https://id.example 1", by=OPERATOR)
            with pytest.raises(Invalid, match="another account"):
                await credentials.link(bob.id, "https://id.example 1", by=OPERATOR)
            found = await credentials.find_subject("https://id.example 1")
            assert found is not None and found.user_id == ada.id
            assert await credentials.find_subject("https://id.example 2") is None
            assert await users.is_known("nobody@example.org", "https://id.example 1")
            await users.disable("ada@example.org")
            assert await credentials.find_subject("https://id.example 1") is None
            await credentials.link(ada.id, None, by=OPERATOR)
            await credentials.link(bob.id, "https://id.example 1", by=OPERATOR)

    run(test)


def test_each_time_step_and_each_recovery_code_is_good_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            user = await Users(database).create("ada@example.org")
            credentials = Credentials(database, KEY)
            codes = await credentials.enable_totp(user.id, "salt", 100, by=OPERATOR)
            assert len(set(codes)) == 8
            assert not await credentials.use_step(user.id, [99, 100])
            assert await credentials.use_step(user.id, [100, 101])
            assert not await credentials.use_step(user.id, [101])
            assert await credentials.use_recovery_code(user.id, f" {codes[0].upper()} ")
            assert not await credentials.use_recovery_code(user.id, codes[0])
            assert await credentials.use_recovery_code(user.id, codes[1].replace("-", ""))
            assert not await credentials.use_recovery_code(user.id, "")
            with pytest.raises(Invalid, match="switch it off first"):
                await credentials.enable_totp(user.id, "other salt", 102, by=OPERATOR)
            await credentials.disable_totp(user.id, by=OPERATOR)
            fresh = await credentials.enable_totp(user.id, "other salt", 102, by=OPERATOR)
            assert not await credentials.use_recovery_code(user.id, codes[2])
            await credentials.disable_totp(user.id, by=OPERATOR)
            assert not await credentials.use_recovery_code(user.id, fresh[0])
        for file in tmp_path.iterdir():
            content = file.read_bytes()
            assert not any(code.encode() in content for code in (*codes, *fresh))

    run(test)


def test_the_secret_is_of_account_salt_and_installation(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            here, elsewhere = Credentials(database, KEY), Credentials(database, b"x" * 32)
            secrets = {
                here.totp_secret(1, "salt"), here.totp_secret(2, "salt"), here.totp_secret(1, "pepper"),
                elsewhere.totp_secret(1, "salt"),
            }  # fmt: skip
            assert len(secrets) == 4 and all(len(secret) == 32 for secret in secrets)
            assert here.totp_secret(1, "salt") in secrets

    run(test)
