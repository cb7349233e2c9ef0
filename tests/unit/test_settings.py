"""What the environment may say, and what is answered when it says nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.settings import Settings, SettingsFaults, from_environ, table, with_flags


def faults_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsFaults) as caught:
        from_environ(environ)
    return caught.value.faults


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = from_environ({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.workers, settings.log_level) == ("127.0.0.1", 8000, 1, "info")
    assert settings.mappings == Path("mappings.yaml")
    assert settings.state_dir == Path(".gateway")
    assert settings.redis_url is None
    assert (settings.redis_mode, settings.redis_prefix, settings.journal_sync) == ("single", "gw", "background")
    assert settings.public_models is True
    assert settings.cors_origins == ("*",)
    assert (settings.drain_s, settings.http_transport) == (30.0, "own")
    assert settings.warnings == ()


def test_values_are_parsed() -> None:
    settings = from_environ(
        {
            "GATEWAY_PORT": "9000",
            "GATEWAY_PUBLIC_MODELS": "False",
            "GATEWAY_CORS_ORIGINS": "https://a.example, http://localhost:5173",
            "GATEWAY_DRAIN_SECONDS": "2.5",
            "REDIS_URL": "rediss://:secret@redis.example:6380/1",
            "GATEWAY_ADMIN_KEY": "0123456789abcdef",
        }
    )
    assert settings.port == 9000
    assert settings.public_models is False
    assert settings.cors_origins == ("https://a.example", "http://localhost:5173")
    assert settings.drain_s == 2.5
    assert settings.redis_url == "rediss://:secret@redis.example:6380/1"


def test_all_faults_come_at_once_and_name_their_variable() -> None:
    faults = faults_of(
        {
            "GATEWAY_WORKERS": "abc",
            "GATEWAY_PORT": "65536",
            "GATEWAY_LOG_LEVEL": "inf",
            "GATEWAY_ADMIN_KEY": "too-short",
            "REDIS_URL": "http://redis",
            "GATEWAY_JOURNAL_SYNC": "sometimes",
        }
    )
    assert len(faults) == 6
    by_name = {fault.partition(":")[0]: fault for fault in faults}
    assert by_name["GATEWAY_WORKERS"] == "GATEWAY_WORKERS: 'abc' is not an integer from 1 to 256"
    assert "Did you mean 'info'?" in by_name["GATEWAY_LOG_LEVEL"]
    assert "at least 16 characters" in by_name["GATEWAY_ADMIN_KEY"]
    assert "rediss://" in by_name["REDIS_URL"]


def test_no_message_and_no_repr_holds_a_secret() -> None:
    bad = faults_of({"GATEWAY_ADMIN_KEY": "hunter2", "REDIS_URL": "redus://:hunter2@host"})
    assert "hunter2" not in " ".join(bad)
    good = from_environ(
        {
            "GATEWAY_ADMIN_KEY": "hunter2hunter2hunter2",
            "REDIS_URL": "redis://:hunter2@host",
            "HTTPS_PROXY": "http://me:hunter2@proxy:3128",
        }
    )
    assert "hunter2" not in repr(good)
    assert good.redis_url == "redis://:hunter2@host"


def test_sentinels_stand_in_one_url() -> None:
    url = "redis://:hunter2@one:26379,two,three:26380/main"
    assert from_environ({"REDIS_URL": url, "GATEWAY_REDIS_MODE": "sentinel"}).redis_url == url
    for wrong in ("redis://one,,two/main", "redis://one:x,two/main", "redis:///main", "unix://"):
        assert len(faults_of({"REDIS_URL": wrong})) == 1


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "admin_key"
    secret.write_text("0123456789abcdef0123\n")
    assert from_environ({"GATEWAY_ADMIN_KEY_FILE": str(secret)}).admin_key == "0123456789abcdef0123"


def test_a_file_that_cannot_be_read_or_is_given_twice_is_a_fault(tmp_path: Path) -> None:
    (missing,) = faults_of({"REDIS_URL_FILE": str(tmp_path / "nowhere")})
    assert "REDIS_URL_FILE" in missing
    assert "No such file" in missing
    (twice,) = faults_of({"GATEWAY_PORT": "1", "GATEWAY_PORT_FILE": str(tmp_path)})
    assert "both set" in twice


def test_an_empty_variable_counts_as_unset() -> None:
    assert from_environ({"GATEWAY_PORT": "", "REDIS_URL": " "}) == Settings()


def test_a_misspelt_variable_is_warned_about() -> None:
    (warning,) = from_environ({"GATEWAY_WORKER": "4"}).warnings
    assert warning == "GATEWAY_WORKER is not a setting and is ignored. Did you mean 'GATEWAY_WORKERS'?"


def test_what_kubernetes_adds_beside_a_service_named_gateway_is_understood() -> None:
    assert from_environ({"GATEWAY_SERVICE_HOST": "10.0.0.1", "GATEWAY_PORT_8000_TCP": "x"}).warnings == ()
    (fault,) = faults_of({"GATEWAY_PORT": "tcp://10.0.0.1:8000"})
    assert "enableServiceLinks: false" in fault


def test_a_proxy_takes_httpx_and_says_so_unless_told_otherwise() -> None:
    taken = from_environ({"HTTPS_PROXY": "http://proxy:3128"})
    assert taken.http_transport == "httpx"
    assert "httpx" in taken.warnings[0]
    told = from_environ({"https_proxy": "http://proxy:3128", "GATEWAY_HTTP_TRANSPORT": "own"})
    assert told.http_transport == "own"
    assert "not used" in told.warnings[0]


def test_flags_win_and_are_named_as_flags() -> None:
    environ = {"GATEWAY_PORT": "abc"}
    assert from_environ(environ, {"port": "8001", "host": None}).port == 8001
    with pytest.raises(SettingsFaults, match="--workers: '0' is not an integer"):
        from_environ({}, {"workers": "0"})


def test_the_table_has_a_line_for_every_setting() -> None:
    rows = list(table())
    assert len({name for name, _, _ in rows}) == len(rows)
    assert {"GATEWAY_MAPPINGS", "REDIS_URL", "GATEWAY_HTTP_TRANSPORT", "SSL_CERT_FILE"} <= {row[0] for row in rows}
    assert all(meaning and default for _, meaning, default in rows)


def test_flags_become_the_variables_of_other_processes() -> None:
    told = with_flags({"GATEWAY_PORT_FILE": "/x", "PATH": "/bin"}, {"port": "9", "host": None})
    assert told == {"PATH": "/bin", "GATEWAY_PORT": "9"}


def test_defaults_hold_where_nothing_else_is_said() -> None:
    assert from_environ({}, defaults={"log_level": "warning"}).log_level == "warning"
    assert from_environ({"GATEWAY_LOG_LEVEL": "error"}, defaults={"log_level": "warning"}).log_level == "error"
