"""Compiling what is written in Java: with the real compiler, on the Java of the stack."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.local import jars, java_build
from feature_store.local.java import embedded_java_home
from feature_store.local.java_build import build_jar

GREETING = """\
package greeting;

public record Greeting(String name) {
    public static void main(String[] arguments) throws Exception {
        var method = Greeting.class.getMethod("greet", String.class);
        System.out.println(greet("wörld") + " " + method.getParameters()[0].getName());
    }

    public static String greet(String whom) {
        return "hellö " + new Greeting(whom).name();
    }
}
"""


@pytest.fixture(scope="module")
def java_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_java_home(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="module")
def ecj(jars_folder: Path) -> Path:
    (path,) = jars.fetch(jars.select(jars.read_lock(), "java"), jars_folder, "", lambda *_: None)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "Greeting.java").write_text(GREETING, encoding="utf-8")
    return folder


def test_what_is_compiled_runs(java_home: Path, ecj: Path, sources: Path, tmp_path: Path) -> None:
    jar = build_jar(java_home, ecj, [], sources, tmp_path / "out")
    command = [java_home / "bin" / "java", "-Dstdout.encoding=UTF-8", "-cp", jar, "greeting.Greeting"]
    words = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8")
    assert words == "hellö wörld whom\n", "arguments keep their names: Flink addresses them by these"
    with zipfile.ZipFile(jar) as archive:
        major = archive.read("greeting/Greeting.class")[7]
    assert major == 61, "Java 17"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [jar.name], "nothing else is left"


def test_services_are_registered(java_home: Path, ecj: Path, sources: Path, tmp_path: Path) -> None:
    """Flink finds our connector through Java's service loader."""
    before = java_build._name(sources)
    services = sources / "META-INF" / "services"
    services.mkdir(parents=True)
    (services / "some.Greeter").write_text("greeting.Greeting\n", encoding="utf-8")
    jar = build_jar(java_home, ecj, [], sources, tmp_path / "out")
    assert jar.name != before
    with zipfile.ZipFile(jar) as archive:
        assert archive.read("META-INF/services/some.Greeter") == b"greeting.Greeting\n"


def test_it_is_compiled_again_only_if_a_source_has_changed(
    java_home: Path, ecj: Path, sources: Path, tmp_path: Path
) -> None:
    jar = build_jar(java_home, ecj, [], sources, tmp_path)
    content = jar.read_bytes()
    assert build_jar(Path("/no/java"), Path("/no/compiler"), [], sources, tmp_path) == jar

    jar.unlink()
    assert build_jar(java_home, ecj, [], sources, tmp_path).read_bytes() == content, "the same bytes"

    source = sources / "deep" / "Greeting.java"
    source.write_text(GREETING.replace("hellö", "good day,"), encoding="utf-8")
    assert build_jar(java_home, ecj, [], sources, tmp_path) != jar
    source.write_text(GREETING, encoding="utf-8")
    source.rename(sources / "Greeting.java")
    assert build_jar(java_home, ecj, [], sources, tmp_path) != jar, "its place matters too"


def test_a_mistake_is_named_with_its_line(java_home: Path, ecj: Path, sources: Path, tmp_path: Path) -> None:
    broken = GREETING.replace("return ", "int count = ").replace("arguments)", "arguments, Missing other)")
    (sources / "deep" / "Greeting.java").write_text(broken, encoding="utf-8")
    with pytest.raises(StackError) as failure:
        build_jar(java_home, ecj, [], sources, tmp_path / "out")
    text = str(failure.value)
    assert text.startswith(f"{sources}: the Java sources do not compile ({sources}/deep/Greeting.java:4: ")
    assert "Missing cannot be resolved to a type, and 1 more)" in text
    assert "\n" not in text
    assert list((tmp_path / "out").iterdir()) == []


def test_sources_that_are_not_there_are_named(java_home: Path, ecj: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="there are no Java sources"):
        build_jar(java_home, ecj, [], tmp_path, tmp_path / "out")


def test_a_jar_of_other_sources_is_outdated(sources: Path) -> None:
    jar = f"/state/flink/{java_build._name(sources)}"
    assert not java_build.is_outdated(jar, sources)
    (sources / "More.java").write_text("class More {}")
    assert java_build.is_outdated(jar, sources)
