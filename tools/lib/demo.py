# SPDX-License-Identifier: Apache-2.0
"""The work of tools/demo, once its packages are there.

Host and guest are measured in turn, never at once: a turn is one size on the host, then the same size in the guest.
The guest learns that it is its turn from a file that appears in the folder it shares with the host, and tells that it
is done by a line on its standard output. Each turn is one run of `vaccel bench sgemm --raw`; the samples of a size are
put together from all of its turns.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

TOP = pathlib.Path(__file__).resolve().parents[2]
START = float(os.environ.get("VACCEL_DEMO_START", time.time()))
# One thread everywhere: what is compared is the way to the library, not how it spreads over processors. Who waits for the
# next request looks for as long as a guest takes between two products.
CONFIGURATION = """[engine]
threads = 1
op_threads = 1
spin_us = 200

[order]
default = openblas reference
"""
# Of the daemon, if there is TensorFlow. Not of the host's side: a framework takes a second to load, in each turn.
MODELS = f"""
[models]
dir = {TOP / "models/store"}
"""
MODELS_ORDER = " models tensorflow"
PICTURES = TOP / "models/digits/heldout"
TARGETS = r"(src/cli/vaccel|src/daemon/vacceld|plugins/(openblas|openssl|reference|models|tensorflow)/vaccel-\w+\.so):"
SHADES = " .:-=+*#%@"
PICTURES_IN_A_ROW = 5
# The driver looks for the answer of a product of up to 512 x 512, rather than sleep: a guest that has a processor to spare.
POLL_US = 5000
NOISY_SPREAD = 30  # percent, above which the table says that its numbers are loose


class Failure(Exception):
    """Something did not work; the text says what."""


class Stop(Exception):
    """A signal asks us to stop."""


def say(text):
    print(f"[{max(0, time.time() - START):.0f} s] {text}", file=sys.stderr, flush=True)


def run(words, what, **options):
    """Runs a program and returns its output; when it fails, Failure with the end of what it said."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          check=False, **options)
    if done.returncode:
        said = "".join(f"\n  | {line}" for line in (done.stdout + (done.stderr or "")).splitlines()[-30:])
        raise Failure(f"cannot {what}: {words[0]} ended with status {done.returncode}{said}")
    return done.stdout


def fetch_tensorflow():
    """Why there is no TensorFlow for pictures; "" if there is."""
    say("looking for TensorFlow, which is fetched once (300 MB)")
    done = subprocess.run([TOP / "tools/tensorflow", "--library-only"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["tools/tensorflow failed"])[-1]
    say("TensorFlow is there")
    return ""


def configure(folder, tensorflow):
    """Once, and again for a TensorFlow that was not there then. Returns what is to be built."""
    words = ["meson", "setup", folder, TOP]
    again = False
    while True:
        if again or not (folder / "build.ninja").exists():
            say(f"configuring the build in {folder}")
            run(words + (["--reconfigure"] if again else []), "configure the build", stderr=subprocess.STDOUT)
        # Not the tests, nor plugins that do not serve here.
        known = run(["ninja", "-C", folder, "-t", "targets", "all"], "list what can be built")
        targets = [line.split(":")[0] for line in known.splitlines() if re.match(TARGETS, line)]
        if again or not tensorflow or any("vaccel-tensorflow" in target for target in targets):
            return targets
        again = True


def build(folder, tensorflow):
    """Builds what is out of date."""
    targets = configure(folder, tensorflow)
    say("building")
    with subprocess.Popen(["ninja", "-C", str(folder), *targets], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as ninja:
        said, told = [], time.monotonic()
        for line in ninja.stdout:
            said.append(line.rstrip())
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say("building, step " + (re.findall(r"^\[(\d+/\d+)\]", line) or ["?"])[0])
    if ninja.returncode:
        raise Failure("cannot build: ninja failed\n" + "\n".join("  | " + line for line in said[-40:]))
    say("built")


def prepare_guest(kind):
    """Fetches the guest's kernel and VMM and builds the driver for it; returns (description, module)."""
    say("preparing the guest: kernel and VMM")
    run([TOP / "tools/guest", f"--kind={kind}", "--prepare"], "prepare the guest")
    describe = json.loads(run([TOP / "tools/guest", f"--kind={kind}", "--describe"], "describe the guest"))
    say(f"building the driver for kernel {describe['kernel']}")
    kernel = "uml" if kind == "uml" else "debian"
    module = run([TOP / "tools/module", "--kernel", kernel], "build the driver").split()[-1]
    say("the guest is prepared")
    return describe, module


class Daemon:
    """A private vacceld."""

    def __init__(self, folder, work, config, more=()):
        self.log = work / "vacceld.log"
        self.socket = work / "vaccel.sock"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by stop()
                [folder / "src/daemon/vacceld", f"--config={config}", f"--socket-path={self.socket}", *more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Failure(f"cannot start vacceld: {self.log.read_text(errors='replace').strip()}")
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Guest:
    """A guest that measures one turn whenever it is told to."""

    def __init__(self, options, work, module, socket, commands):
        self.work = work
        self.turn = 0
        script = work / "guest.sh"
        script.write_text(self._script(commands))
        # The run's folder, and with it the share, is made where TMPDIR says.
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by stop()
            [TOP / "tools/guest", f"--kind={options.guest}", "--device", socket, "--module", f"{module} poll_us={POLL_US}", "--timeout", "280",
             "--", "/bin/sh", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, TMPDIR=str(work)))
        self._expect("ready")

    @staticmethod
    def _script(commands):
        lines = ["out=$VACCEL_GUEST_OUT", "echo ready"]
        for number, words in enumerate(commands):
            command = " ".join(shlex.quote(str(word)) for word in words)
            lines += [f"while [ ! -e $out/go.{number} ]; do sleep 0.1; done",
                      f"{command} > $out/said.{number} 2> $out/error.{number} || echo failed",
                      f"echo done {number}"]
        return "\n".join(lines) + "\n"

    def _expect(self, wanted):
        line = self.process.stdout.readline().strip()
        if line == wanted:
            return
        if line == "failed":
            error = self._file(f"error.{self.turn}").read_text(errors="replace").strip()
            raise Failure(f"in the guest: {error}")
        # It has ended, or is about to: what went wrong, it tells itself on standard error.
        raise Failure(f"the guest ended too early, with status {self.process.wait()}")

    def _file(self, name):
        return next(self.work.glob("vaccel-guest.*/share/out")) / name

    def take_turn(self):
        """Has it run its next command; returns the object that this prints."""
        self._file(f"go.{self.turn}").touch()
        self._expect(f"done {self.turn}")
        result = json.loads(self._file(f"said.{self.turn}").read_text())
        self.turn += 1
        return result

    def finish(self):
        status = self.process.wait()
        if status:
            raise Failure(f"the guest ended with status {status}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.process.stdout.close()


def bench_words(program, transport, size, seconds):
    return [program, "bench", "sgemm", "--transport", transport, "--against", "none", "--sizes", size,
            "--seconds", seconds, "--registered", "--raw", "--json"]


def measure_host(options, work, size, seconds):
    words = bench_words(options.vaccel, f"local:{work / 'vaccel.conf'}", size, seconds)
    return json.loads(run(words, "measure on the host"))


def plan(options):
    """The turns, as (size, seconds). Small sizes are quick but for what they are prepared for: two turns for each."""
    seconds = 0.2 if options.quick else 0.5
    rounds = 1 if options.quick else 2
    return [(size, seconds) for size in options.sizes for _ in range(rounds)]


def classify_words(program, transport):
    return [program, "classify", "--transport", transport, "--model", "digits", "--json", *sorted(PICTURES.glob("*.png"))]


def classify(options, work, guest):
    """What guest and host see on pictures that the model was not trained with."""
    say("classifying digits")
    words = classify_words(options.vaccel, f"local:{work / 'models.conf'}")
    rows = []
    for host, in_guest in zip(json.loads(run(words, "classify on the host"))["images"], guest.take_turn()["images"]):
        said = {name: {"label": row["labels"][0]["label"], "probability": row["labels"][0]["probability"]}
                for name, row in (("guest", in_guest), ("host", host))}
        rows.append({"picture": host["image"], "digit": pathlib.Path(host["image"]).name[0], **said})
    return rows


def measure(options, work, module, tensorflow):
    """Takes all turns; returns [(size, host's result, guest's result)] and what was seen on pictures."""
    turns, pictures = plan(options), []
    daemon, guest, results = Daemon(options.build, work, work / ("models.conf" if tensorflow else "vaccel.conf")), None, []
    try:
        say("booting the guest")
        device = "virtio:/dev/vaccel0"
        commands = [bench_words(options.vaccel, device, size, seconds) for size, seconds in turns]
        guest = Guest(options, work, module, daemon.socket,
                      commands + ([classify_words(options.vaccel, device)] if tensorflow else []))
        say("the guest is up")
        for number, (size, seconds) in enumerate(turns):
            host = measure_host(options, work, size, seconds)
            results.append((size, host, guest.take_turn()))
            if number + 1 == len(turns) or turns[number + 1][0] != size:
                say(f"measured {size} x {size}")
        if tensorflow:
            pictures = classify(options, work, guest)
        guest.finish()
    except Failure as failure:
        log = daemon.log.read_text(errors="replace").strip()
        raise Failure(f"{failure}" + (f"\nvacceld said:\n{log}" if log else "")) from failure
    finally:
        if guest:
            guest.stop()
        daemon.stop()
    return results, pictures


def side(samples, size):
    """The numbers of a row, from all samples of its turns, as `vaccel bench` has them."""
    ordered = sorted(samples)
    median = statistics.median(ordered)
    quartile = [ordered[max(0, -(-len(ordered) * part // 4) - 1)] for part in (1, 3)]
    return {"placement": "any CPU", "mflops": round(2 * size ** 3 / median * 1e3, 1), "samples": len(ordered), "min_ns": ordered[0],
            "median_ns": round(median), "p99_ns": ordered[max(0, -(-len(ordered) * 99 // 100) - 1)],
            "max_ns": ordered[-1], "spread_percent": round((quartile[1] - quartile[0]) / median * 100, 2)}


def served_by(described):
    row = next(row for row in described["ops"] if row["name"] == "sgemm")
    return row["plugin"], row["hardware"]


def combine(results, describe):
    """One object in the format of `vaccel bench --json`, whose sides are host and guest."""
    host, guest = results[0][1], results[0][2]
    combined = {key: host[key] for key in ("bench", "op", "key", "value", "value_title", "memory", "where")}
    combined["guest_where"] = guest["where"]
    combined["sides"] = [dict(host["sides"][0], name="host"), dict(guest["sides"][0], name="guest", base="host")]
    combined["rows"], combined["ratios"] = [], {}
    for size in dict.fromkeys(size for size, _, _ in results):
        turns = [(host, guest) for of_size, host, guest in results if of_size == size]
        samples = {name: [ns for turn in turns for ns in turn[i]["rows"][0]["samples_ns"]]
                   for i, name in enumerate(("host", "guest"))}
        ratio = statistics.median(samples["guest"]) / statistics.median(samples["host"])
        for i, name in enumerate(samples):
            row = {"size": size, "side": name, **side(samples[name], size),
                   "verified": all(turn[i]["rows"][0]["verified"] for turn in turns)}
            combined["rows"].append(row)
        combined["rows"][-1]["over_base"] = round(ratio, 5)
        combined["ratios"][f"guest_over_host_{size}"] = round(ratio, 5)
    plugin, hardware = served_by(combined["sides"][1])
    combined["produced_by"] = {**describe, "plugin": plugin, "hardware": hardware}
    combined["title"] = (f"SGEMM, {describe['vmm']} {describe['vmm_version']} ({describe['acceleration']}), {plugin}, "
                         f"one thread, {combined['where']['cpu']}")
    return combined


def print_table(combined):
    by = combined["produced_by"]
    print(f"{'size':>6}  {'host MFlop/s':>13}  {'guest MFlop/s':>13}  {'overhead %':>10}  "
          f"{'spread % host/guest':>19}  {'samples':>9}")
    for host, guest in zip(combined["rows"][::2], combined["rows"][1::2]):
        print(f"{host['size']:>6}  {host['mflops']:>13.0f}  {guest['mflops']:>13.0f}  "
              f"{(guest['over_base'] - 1) * 100:>10.1f}  "
              f"{host['spread_percent']:>10.1f} / {guest['spread_percent']:<6.1f}  "
              f"{host['samples']:>4}/{guest['samples']}")
    print("Medians of all samples, host and guest in turn; spread: quartile distance over median. Results are verified.")
    spread = max(row["spread_percent"] for row in combined["rows"])
    if spread > NOISY_SPREAD:
        print(f"A spread of {spread:.0f} % is large: the machine was not quiet meanwhile. Run it again for firmer numbers.")
    print(f"Produced by {by['vmm']} {by['vmm_version']}, guest kernel {by['kernel']}, acceleration {by['acceleration']}, "
          f"back-end {by['plugin']} ({by['hardware']}), one thread, on {combined['where']['cpu']}.")


def grey(path):
    """The rows of one of our pictures: PNG of 8 bits grey, whose rows are stored as they are."""
    data, at, packed, width = pathlib.Path(path).read_bytes(), 8, b"", 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, = struct.unpack(">I", data[at + 8:at + 12])
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += length + 12
    pixels = zlib.decompress(packed)
    return [pixels[row + 1:row + 1 + width] for row in range(0, len(pixels), width + 1)]


def print_pictures(pictures):
    for start in range(0, len(pictures), PICTURES_IN_A_ROW):
        some = pictures[start:start + PICTURES_IN_A_ROW]
        print()
        for rows in zip(*(grey(picture["picture"]) for picture in some)):
            print("  ".join("".join(SHADES[dot * len(SHADES) // 256] * 2 for dot in row) for row in rows).rstrip())
        for name in ("guest", "host"):
            texts = (f"{name + ':':<6} {picture[name]['label']} {picture[name]['probability'] * 100:5.1f} %"
                     for picture in some)
            print("  ".join(f"{text:<16}" for text in texts).rstrip())
        wrong = ["it is a " + picture["digit"] if picture["guest"]["label"] != picture["digit"] else "" for picture in some]
        if any(wrong):
            print("  ".join(f"{text:<16}" for text in wrong).rstrip())
    right = sum(picture["guest"]["label"] == picture["digit"] for picture in pictures)
    apart = max(abs(picture["guest"]["probability"] - picture["host"]["probability"]) for picture in pictures)
    same = sum(picture["guest"]["label"] == picture["host"]["label"] for picture in pictures)
    print(f"\n{len(pictures)} held-out digits, classified in the guest by the host's TensorFlow: {right} right, {same} as on the "
          f"host itself, probabilities at most {apart:.2g} apart.")
    print("Half of them are those that the model is least sure of; of all 359 it knows 357 (models/digits/README.md).")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="demo", allow_abbrev=False)
    parser.add_argument("--guest", choices=["qemu", "uml"], default="qemu")
    parser.add_argument("--sizes", type=sizes)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.sizes = options.sizes or ([128, 512, 1024] if options.quick else [128, 256, 512, 1024, 2048])
    options.build = pathlib.Path(os.environ.get("VACCEL_BUILD_DIR") or TOP / "build").absolute()
    options.vaccel = options.build / "src/cli/vaccel"
    options.out = (options.out or options.build / "demo").absolute()
    return options


def sizes(text):
    numbers = text.split(",")
    if not all(number.isdigit() and 1 <= int(number) <= 8192 for number in numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of sizes from 1 to 8192 with commas between them")
    return [int(number) for number in dict.fromkeys(numbers)]


def prepare(options):
    """Building takes the processors, preparing the guest mostly the network: both at once."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        guest = pool.submit(prepare_guest, options.guest)
        # What is built depends on whether it is there.
        missing = fetch_tensorflow()
        building = pool.submit(build, options.build, not missing)
        building.result()
        return (*guest.result(), missing)


def set_plugins(options):
    """The plugins of the build folder; on the host from here, in the daemon by inheritance. Returns what pictures lack."""
    found = sorted(options.build.glob("plugins/*/vaccel-*.so"))
    if not any(path.name == "vaccel-openblas.so" for path in found):
        say("the openblas plugin was not built: the reference plugin serves, which is slow")
    absent = [name for name in ("models", "tensorflow") if not any(path.name == f"vaccel-{name}.so" for path in found)]
    os.environ["VACCEL_PLUGIN_DIR"] = ":".join(str(path.parent) for path in found)
    return f"the plugin {absent[0]} was not built" if absent else ""


def main():
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    describe, module, missing = prepare(options)
    missing = set_plugins(options) or missing
    work = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-demo."))
    try:
        (work / "vaccel.conf").write_text(CONFIGURATION)
        (work / "models.conf").write_text(CONFIGURATION.rstrip() + MODELS_ORDER + "\n" + MODELS)
        results, pictures = measure(options, work, module, not missing)
        combined = combine(results, describe)
        combined["pictures"] = pictures
    finally:
        shutil.rmtree(work, ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "demo.json"
    stored.write_text(json.dumps(combined, indent=2) + "\n")
    plots = [options.out / f"demo.{kind}" for kind in ("png", "svg")]
    for plot in plots:
        run([options.vaccel, "bench", "--from", stored, "--plot", plot], "draw")
    if options.json:
        print(json.dumps(combined, indent=2))
    else:
        print_table(combined)
        print("Plots:", *plots)
        if pictures:
            print_pictures(pictures)
        else:
            print(f"No pictures were classified: {missing}.")
    say("done")
    return 0


def stop(number, _frame):
    signal.signal(number, signal.SIG_IGN)
    raise Stop(number)


def guarded(work):
    """The exit status of a program that does the work."""
    try:
        return work()
    except Failure as error:
        say(f"failed: {error}")
        return 1
    except Stop as stopped:
        say("interrupted")
        os._exit(128 + stopped.args[0])
    except OSError as error:
        say(f"failed: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(guarded(main))
