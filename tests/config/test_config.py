"""daskd.toml: its defaults, and errors that name file, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskd.config import Config, kept_until_restart, load_config, parse_config
from daskd.model.errors import InvalidConfig

FILE = Path("/etc/daskd/daskd.toml")


def test_no_file_means_defaults(tmp_path):
    """Without any configuration the daemon has the documented defaults."""
    config = load_config(environ={"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)})

    assert config == Config()
    assert (config.clusters.start_timeout, config.clusters.orphan_timeout) == (60, 86_400)
    assert (config.logs.max_bytes, config.limits.max_clusters, config.adaptive.maximum) == (10 << 20, 100, 64)


def test_the_users_file_is_found(tmp_path):
    """The file in the XDG folder is read when none is named."""
    (tmp_path / "daskd").mkdir()
    (tmp_path / "daskd" / "daskd.toml").write_text("[limits]\nmax_clusters = 7\n")

    config = load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)})

    assert config.limits.max_clusters == 7
    assert config.file == tmp_path / "daskd" / "daskd.toml"


def test_durations_and_sizes_are_written_as_people_do():
    """Units are understood; plain numbers are seconds and bytes."""
    config = parse_config(
        '[held_work]\nkeep = "12h"\n[logs]\nmax_bytes = "1 MiB"\nkeep = 60\n[daemon]\nmax_message_bytes = 100000', FILE
    )

    assert (config.held_work.keep, config.logs.max_bytes, config.logs.keep) == (43_200, 1 << 20, 60)
    assert config.daemon.max_message_bytes == 100_000


@pytest.mark.parametrize(
    ("toml", "key", "words"),
    [
        ("[daemno]", "daemno", "did you mean 'daemon'?"),
        ("[clusters]\nstart_timout = 3", "clusters.start_timout", "did you mean 'start_timeout'?"),
        ('[clusters]\nstart_timeout = "12 parsecs"', "clusters.start_timeout", '"5 min"'),
        ("[clusters]\nstart_timeout = -1", "clusters.start_timeout", "is no duration"),
        ("[clusters]\nmax_launch_failures = 0", "clusters.max_launch_failures", "it must be at least 1"),
        ('[clusters]\nmax_launch_failures = "x"', "clusters.max_launch_failures", "write a whole number"),
        ("[clusters]\nmax_launch_failures = 1.5", "clusters.max_launch_failures", "1.5 is no whole number"),
        ("[held_work]\nmemory_share = 2", "held_work.memory_share", "it must be at most 1"),
        ('[daemon]\nlog_format = "xml"', "daemon.log_format", "'auto', 'json' or 'console'"),
        ('[daemon]\nlisten = ["0.0.0.0"]', "daemon.listen[0]", 'write "unix:" and an absolute path'),
        ('[daemon]\nlisten = ["unix:rel"]', "daemon.listen[0]", 'write "unix:" and an absolute path'),
        ('[web]\nlisten = "8787"', "web.listen", 'write "unix:" and an absolute path'),
        ('[web]\nlisten = "unix:/run/w"', "web", "set `public_url`, too"),
        ('[web]\nlisten = "0.0.0.0:8787"', "web", "set `public_url`, too"),
        ('[web]\npublic_url = "dask.example.org"', "web.public_url", '"https://dask.example.org"'),
        ('[web]\npublic_url = "https://a b"', "web.public_url", '"https://dask.example.org"'),
        ('[web]\npublic_url = "https://x.org:99999"', "web.public_url", "is no URL"),
        ('[web]\npublic_url = "https://x.org/dask"', "web.public_url", "more than a host"),
        ('[web]\npublic_url = "http://dask.example.org"', "web.public_url", "begin it with https://"),
        ("[web]\nsession = 1", "web.session", "it must be at least 60"),
        ('[daemon]\nstate_dir = "rel"', "daemon.state_dir", "is not absolute"),
        ('[daemon]\nmax_message_bytes = "0"', "daemon.max_message_bytes", '"4 MiB"'),
        ("[adaptive]\nmaximum = 0", "adaptive.maximum", "it must be at least 1"),
        ("daemon = 3", "daemon", "write a table"),
        ('[profiles."A B"]', "profiles.A B", "'A B' is none"),
        ('[profiles.p]\nfixed = ["pyton"]', "profiles.p.fixed", "did you mean 'python'?"),
        ('[profiles.p]\nfixed = ["group.drivr"]', "profiles.p.fixed", "did you mean 'group.driver'?"),
        ('[profiles.p.spec]\npyton = "x"', "profiles.p.spec.pyton", "did you mean 'python'?"),
        ("[profiles.p.spec.group]\nnthreds = 1", "profiles.p.spec.group.nthreds", "did you mean 'nthreads'?"),
        ("[profiles.p.spec.group]\nnodes = 2", "profiles.p.spec.group", "options.nodes_per_job"),
        ('[profiles.p.spec]\nprofile = "q"', "profiles.p.spec.profile", "can't be laid over another"),
        ('file = "x"', "file", "remove it"),
    ],
)
def test_an_error_names_file_key_and_mend(toml, key, words):
    """Each mistake is told with the file, the dotted key, and what to write instead."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config(toml, FILE)

    assert [problem.field for problem in caught.value.problems] == [key]
    assert words in caught.value.problems[0].words
    assert caught.value.words.startswith(f"{FILE}: {key}: ")
    assert "pydantic" not in caught.value.words


def test_all_errors_are_told_at_once():
    """A file with two mistakes is mended in one go."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config("[limits]\nmax_clusters = 0\n[logs]\nfiles = 0", FILE)

    assert [problem.field for problem in caught.value.problems] == ["logs.files", "limits.max_clusters"]
    assert len(caught.value.words.splitlines()) == 2


def test_environment_values_stay_out_of_errors():
    """A profile's environment may hold secrets, which no error shows."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config('[profiles.p.spec]\nenvironment = { A = ["s3cret"], B = 12345 }', FILE)

    assert "s3cret" not in caught.value.words
    assert "12345" not in caught.value.words


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o600, "there is no such file"),
        (b"[daemon", 0o600, "this is no TOML"),
        (b"a = '\xff'", 0o600, "no UTF-8 at byte 5"),
        (b"", 0o602, "everybody may write it: chmod o-w"),
        (b"#" * (1 << 20) + b"#", 0o600, "larger than 1 MiB"),
    ],
)
def test_a_file_that_can_not_be_used_says_why(tmp_path, content, mode, words):
    """A missing, broken or unsafe file is refused with its path."""
    file = tmp_path / "daskd.toml"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)

    with pytest.raises(InvalidConfig, match=words) as caught:
        load_config(file)

    assert str(file) in caught.value.words


def test_a_folder_is_no_file(tmp_path):
    """A path that is no regular file is refused before it is read."""
    with pytest.raises(InvalidConfig, match="no regular file"):
        load_config(tmp_path)


def test_a_profile_keeps_only_what_it_sets():
    """What a profile leaves open is not laid under a request."""
    config = parse_config(
        '[profiles.p.spec]\npython = "python3"\ngroup = { memory_limit = "1GiB" }\ngroups = [{ name = "a" }]', FILE
    )

    profile = config.profile("p")
    assert profile is not None
    assert profile.defaults() == {
        "python": "python3",
        "every_group": {"memory_limit": 1 << 30},
        "groups": ({"name": "a"},),
    }


def test_the_lower_limit_holds():
    """A profile can't allow more workers than the configuration does."""
    config = parse_config(
        "[limits]\nmax_workers = 10\n[profiles.a]\nmax_workers = 5\n[profiles.b]\nmax_workers = 50", FILE
    )

    assert [config.group_limit(name) for name in ("a", "b", "", "gone")] == [5, 10, 10, 10]


@pytest.mark.parametrize(
    "url",
    ["https://dask.example.org", "https://{cluster}.example.org:8443", "http://127.0.0.1:80", "http://x.localhost"],
)
def test_links_may_begin_with(url):
    """TLS, or a name or address of this machine alone; a cluster's own host."""
    assert parse_config(f'[web]\npublic_url = "{url}/"', FILE).web.public_url == url


def test_where_browsers_connect_holds_until_a_restart():
    """A reload takes up no other place for dashboards, and says so."""
    old, new = Config(), parse_config('[web]\nlisten = "127.0.0.1:1"\nsession = "1h"', FILE)
    assert kept_until_restart(old, new) == ("web.listen", "web.session")
