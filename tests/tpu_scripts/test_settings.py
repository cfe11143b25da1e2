"""Where settings come from, and what is said about those that are missing or make no sense."""

import re
import subprocess

import pytest

from encore_jax.errors import InputError
from encore_jax.parallel.slices import _CUBES as CUBES
from encore_jax.parallel.slices import _FLAT as FLAT
from encore_jax.parallel.slices import GENERATIONS, parse_slice
from tests.tpu_scripts.fake_cloud import CONFIG, REPOSITORY, SLICE

SCRIPTS = ("create", "setup", "run", "status", "logs", "delete", "train_with_resume")
NEEDED = {
    "create": ("PROJECT", "ZONE", "NAME", "ACCELERATOR"),
    "setup": ("PROJECT", "ZONE", "NAME", "ACCELERATOR"),
    "run": ("PROJECT", "ZONE", "NAME"),
    "status": ("PROJECT", "ZONE", "NAME"),
    "logs": ("PROJECT", "ZONE", "NAME"),
    "delete": ("PROJECT", "ZONE", "NAME"),
    "train_with_resume": ("PROJECT", "ZONE", "NAME", "ACCELERATOR", "BUCKET"),
}
ALL = SLICE | {"BUCKET": "my-bucket"}


def refusal(cloud, script, *arguments, **settings):
    done = cloud.run(f"{script}.sh", *arguments, **settings)
    assert done.returncode == 2 and not done.stdout and not cloud.calls()
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_says_what_it_is_for_and_names_every_setting(cloud, script):
    done = cloud.run(f"{script}.sh", "--help")
    assert done.returncode == 0 and not cloud.calls()
    assert f"tpu_scripts/{script}.sh --" in done.stdout and not done.stdout.startswith("#")
    for flag in ("--project", "--zone", "--name", "--spot", "--dry-run", "--settings=FILE"):
        assert flag in done.stdout


@pytest.mark.parametrize(("script", "name"), [(script, name) for script in SCRIPTS for name in NEEDED[script]])
def test_a_missing_setting_is_named_with_its_flag(cloud, script, name):
    settings = {key: value for key, value in ALL.items() if key != name}
    arguments = [f"--config={CONFIG}"] if script in ("run", "train_with_resume") else []
    line = refusal(cloud, script, *arguments, **settings)
    assert line.startswith(f"error: {name} is missing: give --{name.lower()}=")


@pytest.mark.parametrize("script", SCRIPTS)
def test_all_missing_settings_are_named_at_once(cloud, script):
    line = refusal(cloud, script)
    assert all(name in line and f"--{name.lower()}=..." in line for name in NEEDED[script]), line
    assert ("--config=FILE" in line) == (script in ("run", "train_with_resume"))
    line = refusal(cloud, script, ZONE="z", ACCELERATOR="v5e:8", BUCKET="b")
    assert "PROJECT" in line and "NAME" in line and "ZONE" not in line and "BUCKET" not in line


@pytest.mark.parametrize("script", ["run", "train_with_resume"])
def test_a_shipped_configuration_goes_by_its_name(cloud, script):
    shipped = cloud.checkout / "encore_jax" / "recipes" / "configs" / "rate_local.py"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    done = cloud.run(f"{script}.sh", "--dry-run", "--config=rate_local", **ALL)
    assert done.returncode == 0 and "--config=rate_local" in done.stdout, done.stderr
    assert "no file other in the checkout" in refusal(cloud, script, "--config=other", **ALL)


@pytest.mark.parametrize("script", ["run", "train_with_resume"])
def test_the_config_must_be_given_and_be_in_the_checkout(cloud, script):
    assert refusal(cloud, script, **ALL).startswith("error: --config is missing")
    line = refusal(cloud, script, "--config", "experiments/configs/other.py", **ALL)
    assert "no file experiments/configs/other.py in the checkout" in line


@pytest.mark.parametrize("script", ["run", "train_with_resume"])
def test_data_that_would_not_go_to_the_workers_is_refused_before_a_slice_is_paid_for(cloud, script):
    (cloud.checkout / "runs").mkdir()
    for name in ("runs/pairs.jsonl", "my pairs.jsonl"):
        (cloud.checkout / name).touch()
    for flag, path in (("data.path", "runs/pairs.jsonl"), ("data.ratings_path", "missing.jsonl")):
        line = refusal(cloud, script, f"--config={CONFIG}", f"--config.{flag}={path}", **ALL)
        assert f"--config.{flag}: {path} does not go to the workers" in line
    for path in (
        "my pairs.jsonl",
        "/mnt/disk/a.jsonl",
        "~/a.jsonl",
        "../a.jsonl",
        "",
        "hf://datasets/org/name/a.jsonl",
    ):
        flags = [f"--config={CONFIG}", f"--config.data.path={path}", "--config.train.save_every", "5"]
        done = cloud.run(f"{script}.sh", "--dry-run", *flags, "--config.train.b2=0.99", **ALL)
        assert done.returncode == 0, done.stderr
        assert "--config.train.save_every=5" in done.stdout and "--config.train.b2=0.99" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frob=1"], "unknown flag --frob"),
        (["--attempts=2"], "unknown flag --attempts"),
        (["quickly"], "unexpected argument quickly"),
        (["--"], "unexpected argument --"),
        (["--config=x"], "unknown flag --config"),
        (["--zone"], "--zone needs a value"),
        (["--spot=yes"], "--spot takes no value"),
        (["--name=Encore_8B"], "--name: use small letters"),
        (["--run=a/b"], "--run: use letters"),
        (["--bucket=gs://b b"], "--bucket: not the name of a bucket"),
        (["--poll-seconds=soon"], "--poll-seconds: not a number from 0 to 999999: soon"),
        (["--accelerator=v3-8"], "v3-8 is not of v4, v5litepod (v5e), v5p or v6e"),
        (["--accelerator=v5e"], "v5e is not of"),
        (["--accelerator=v5e:0"], "v5e:0 is no size"),
        (["--accelerator=v5p:2x2"], "v5p:2x2 is no size"),
        (["--accelerator=v5p-33"], "v5p-33 is no size"),
        (["--accelerator=v4:2x2x9999999"], "v4:2x2x9999999 is no size"),
        (["--accelerator=v5litepod"], "v5litepod is not of"),
        (["--accelerator=v6e:x4"], "v6e:x4 is no size"),
        (["--accelerator=v4:4x4"], "v4:4x4 is no size"),
        (["--accelerator=v5p-0"], "v5p-0 is no size"),
        (["--accelerator=v5e:3x3"], "v5e:3x3 is no size of a slice; write v5e:SHAPE or v5e:CHIPS, with one of"),
        (["--accelerator=v6e-12"], "v6e-12 is no size"),
        (["--accelerator=2xv5e:8x8"], "is 2 slices, and this script asks for one; tpu_scripts/jobset.sh starts"),
        (["--spot", "--reserved"], "--spot and --reserved or --reservation exclude each other"),
        (["--spot", "--reservation=r"], "--spot and --reserved or --reservation exclude each other"),
        (["--valid-until=soon"], "--valid-until: write e.g. 12h, not soon"),
        (["--settings=nowhere"], "--settings: cannot read nowhere"),
    ],
)
def test_senseless_arguments_are_named(cloud, arguments, said):
    assert said in refusal(cloud, "create", *arguments, **SLICE)


NUMBERS = {
    ("create", "--poll-seconds"): ("0", "0.5", "30", "999999"),
    ("run", "--grace-seconds"): ("0", "30"),
    ("train_with_resume", "--attempts"): ("1", "20"),
    ("train_with_resume", "--backoff-seconds"): ("0.01", "30"),
    ("encore_8b", "--price"): ("0", "1.2", "3"),
    ("ramo_8b", "--rated"): ("0", "5000"),
    ("ramo_8b", "--rules"): ("1", "5"),
    ("jobset", "--slices"): ("1", "4"),
    ("jobset", "--restarts"): ("0", "50"),
    ("jobset", "--grace"): ("0", "120"),
}
"""Every flag that is a number, and numbers that it may be."""
NO_NUMBERS = (
    "-1",
    "+1",
    "08",
    "1e3",
    "nan",
    "inf",
    "soon",
    "1,5",
    "9999999",
    "99999999999999999999",
    "1 2",
    "0x1",
    ".5",
)
WHOLE = ("--attempts", "--rated", "--rules", "--slices", "--restarts", "--grace")
POSITIVE = ("--attempts", "--rules", "--slices")


@pytest.mark.parametrize(("script", "flag"), NUMBERS)
def test_what_is_no_number_is_refused_by_every_flag_that_is_one(cloud, script, flag):
    more = [f"--config={CONFIG}"] if script in ("run", "train_with_resume", "jobset") else []
    bad = [*NO_NUMBERS, *["1.5"] * (flag in WHOLE), *["0"] * (flag in POSITIVE)]
    for value in bad:
        line = refusal(cloud, script, f"{flag}={value}", *more, **ALL)
        assert line.startswith(f"error: {flag}: not a number from {int(flag in POSITIVE)} to 999999: "), (value, line)
    for value in NUMBERS[script, flag]:
        done = cloud.run(f"{script}.sh", "--dry-run", f"{flag}={value}", *more, **ALL | {"IMAGE": "i"})
        assert f"{flag}: not" not in done.stderr, done.stderr


def test_every_number_of_the_scripts_is_in_that_table():
    help_of = "".join(path.read_text() for path in (REPOSITORY / "tpu_scripts").glob("*.sh"))
    checked = re.search(r"case \$name in\n(.*?)esac", help_of[help_of.index("check_number") - 400 :], re.DOTALL)[1]
    names = {name for line in checked.splitlines() for name in re.findall(r"[A-Z_]{4,}", line.split(")")[0])}
    flags = {flag.removeprefix("--").replace("-", "_").upper() for _, flag in NUMBERS}
    assert {name for name in flags if not name.endswith("_SECONDS")} == names - {"_SECONDS"}


def test_a_switch_in_the_environment_is_1_or_0(cloud):
    assert refusal(cloud, "create", **SLICE, SPOT="maybe") == "error: SPOT=maybe is neither 1 nor 0"


ODD = ("3x3", "8x4", "2x2x3", "x", "", "08", "2x2x", "4-4", "4:4", "0", "1", "2", "5", "12", "17", "99999999")
SIZES = (*FLAT, *CUBES, 4, 8, 16, 32, 64, 128, 256, 8192, *ODD)
SPELLINGS = [f"{name}{sign}{size}" for name in (*GENERATIONS, "v5litepod") for sign in ":-" for size in SIZES]
SPELLINGS += ["v3:2x2", "v3-8", ":2x2", "v5e2x2", "v5e::8", "v5e--8", "v5e", "", "-", "v7x:2x2x2", "V5E:2x2"]


def test_slices_are_spelt_in_the_scripts_as_in_aot(cloud):
    """Both accept the same names and mean the same chips and topology by them."""
    code = 'source "$1"; shift; for ACCELERATOR in "$@"; do (RUNTIME=; resolve_accelerator 2>/dev/null && ' \
        'echo "$GENERATION:$TOPOLOGY $CHIPS") || echo refused; done'  # fmt: skip
    command = ["bash", "-c", code, "-", cloud.checkout / "tpu_scripts" / "settings.sh", *SPELLINGS]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for name, line in zip(SPELLINGS, lines, strict=True):
        try:
            tpu = parse_slice(name)
            assert line == f"{tpu.name} {tpu.chips}", name
        except InputError:
            assert line == "refused", name
    assert len([line for line in lines if line != "refused"]) > 80


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"SPOT": "1"}, {"--spot"}),
        ({"RESERVED": "1"}, {"--reserved"}),
        ({"NETWORK": "n", "SUBNETWORK": "s"}, {"--network=n", "--subnetwork=s"}),
        ({"SERVICE_ACCOUNT": "a@p.iam.gserviceaccount.com"}, {"--service-account=a@p.iam.gserviceaccount.com"}),
        ({"VALID_UNTIL": "12h"}, {"--valid-until-duration=12h"}),
        ({"RESERVATION": "projects/o/reservations/r"}, {"alpha", "--reservation=projects/o/reservations/r"}),
    ],
)
def test_capacity_network_and_account_become_flags_of_the_request(cloud, settings, flags):
    done = cloud.run("create.sh", "--dry-run", **SLICE | settings)
    (line,) = [line for line in done.stdout.splitlines() if " create " in line]
    assert flags <= set(line.split()) and ("alpha" in line.split()) == ("RESERVATION" in settings)


def created(done):
    """The flags of the create command in a dry run."""
    (line,) = [line for line in done.stdout.splitlines() if " create " in line]
    return line.split()[6:]


@pytest.mark.parametrize(
    ("accelerator", "flags", "chips"),
    [
        ("v5litepod-64", ["--accelerator-type=v5litepod-64", "--runtime-version=v2-alpha-tpuv5-lite"], 64),
        ("v5e:8x8", ["--accelerator-type=v5litepod-64", "--runtime-version=v2-alpha-tpuv5-lite"], 64),
        ("v6e:4x4", ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"], 16),
        ("v6e-8", ["--accelerator-type=v6e-8", "--runtime-version=v2-alpha-tpuv6e"], 8),
        ("v5p-32", ["--accelerator-type=v5p-32", "--runtime-version=v2-alpha-tpuv5"], 16),
        ("v5e-64", ["--accelerator-type=v5litepod-64", "--runtime-version=v2-alpha-tpuv5-lite"], 64),
        ("v5e:64", ["--accelerator-type=v5litepod-64", "--runtime-version=v2-alpha-tpuv5-lite"], 64),
        ("v5litepod:8x8", ["--accelerator-type=v5litepod-64", "--runtime-version=v2-alpha-tpuv5-lite"], 64),
        ("v6e:16", ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"], 16),
        ("v5p:2x2x4", ["--type=v5p", "--topology=2x2x4", "--runtime-version=v2-alpha-tpuv5"], 16),
        ("v5p-2x2x4", ["--type=v5p", "--topology=2x2x4", "--runtime-version=v2-alpha-tpuv5"], 16),
        ("v6e-4x4", ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"], 16),
        ("v5p:16", ["--accelerator-type=v5p-32", "--runtime-version=v2-alpha-tpuv5"], 16),
        ("v4:16", ["--accelerator-type=v4-32", "--runtime-version=tpu-ubuntu2204-base"], 16),
        ("v4-32", ["--accelerator-type=v4-32", "--runtime-version=tpu-ubuntu2204-base"], 16),
        ("v4:2x2x4", ["--type=v4", "--topology=2x2x4", "--runtime-version=tpu-ubuntu2204-base"], 16),
    ],
)
def test_the_accelerator_determines_type_software_and_number_of_chips(cloud, accelerator, flags, chips):
    settings = SLICE | {"ACCELERATOR": accelerator}
    assert set(flags) <= set(created(cloud.run("create.sh", "--dry-run", **settings)))
    assert f"devices {chips}'" in cloud.run("setup.sh", "--dry-run", **settings).stdout


def test_flags_come_before_the_file_and_the_file_before_the_environment(cloud, tmp_path):
    file = tmp_path / "my slice.env"
    file.write_text(
        "# my slice\n\nPROJECT=of-file\nZONE='of-file'  \n"
        'RUNTIME="of file"\nSPOT=1\nATTEMPTS=3\nCREATE_FLAGS=--reserved --network=n'
    )
    environment = SLICE | {"PROJECT": "of-environment", "RUNTIME": "of-environment"}
    done = cloud.run("create.sh", "--settings", "my slice.env", "--zone=of-flag", "--dry-run", **environment)
    flags = created(done)
    assert {"--project=of-file", "--zone=of-flag", "--node-id=encore", "--spot"} <= set(flags)
    assert "'--runtime-version=of file' --reserved --network=n" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"), [("PROJEKT=x", "unknown setting PROJEKT"), ("just words", "not a line KEY=VALUE: just words")]
)
def test_a_bad_line_of_the_file_is_named(cloud, tmp_path, line, said):
    (tmp_path / "bad.env").write_text(f"PROJECT=p\n{line}\n")
    assert f"bad.env:2: {said}" in refusal(cloud, "create", "--settings=bad.env")


def test_the_example_file_is_understood(cloud):
    done = cloud.run("create.sh", "--settings=check out/tpu_scripts/settings.example", "--dry-run")
    assert done.returncode == 0 and "--spot" in created(done), done.stderr


def test_every_line_of_the_example_is_a_setting(cloud, tmp_path):
    """What is commented out there works when it is not, each by itself."""
    example = (cloud.checkout / "tpu_scripts" / "settings.example").read_text()
    lines = re.findall(r"^# ([A-Z_]+=.+)$", example, re.MULTILINE)
    names = {line.split("=")[0] for line in lines}
    assert {"RESERVED", "RESERVATION", "VALID_UNTIL", "NETWORK", "SUBNETWORK", "SERVICE_ACCOUNT"} <= names
    (tmp_path / "my token").touch()
    for line in lines:
        spot = "" if line.startswith("RESERV") else "SPOT=1\n"
        (tmp_path / "my.env").write_text(example.replace("SPOT=1\n", spot) + line + "\n")
        done = cloud.run("create.sh", "--dry-run", "--settings=my.env")
        assert done.returncode == 0, done.stderr


def test_an_option_that_is_no_setting_is_not_taken_from_the_environment(cloud):
    done = cloud.run("status.sh", "--dry-run", **SLICE)
    assert done.stdout == cloud.run("status.sh", "--dry-run", **SLICE, FOLLOW="1", TO="/x", WAIT="1").stdout
    assert "tail" not in cloud.run("logs.sh", "--dry-run", **SLICE, FOLLOW="1").stdout


def test_an_old_bash_is_told_so(cloud):
    settings = cloud.checkout / "tpu_scripts" / "settings.sh"  # BASH_VERSINFO cannot be set, so it gets another name
    settings.write_text("OLD=(3 2)\n" + settings.read_text().replace("BASH_VERSINFO", "OLD"))
    done = cloud.run("status.sh", **SLICE)
    assert done.returncode == 2 and "need bash 4.4" in done.stderr
