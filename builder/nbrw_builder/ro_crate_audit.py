"""The crate of an audit: the notebook, its cells, what they read and wrote, the image. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from nbrw_builder.ro_crate import ROOT, Graph, Person, begin, ref, refs
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import DataState
from nbrw_runtime.digest import Digest
from nbrw_runtime.notebook import Cell, code_cells
from nbrw_runtime.recipe import Recipe

IMAGE = "#image"
ENGINE = "https://pypi.org/project/nbrw/"
_PYTHON, _JUPYTER = "https://www.python.org/", "#jupyter"
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_TYPES = {bool: "Boolean", int: "Integer", float: "Float"}


@dataclass(frozen=True)
class CrateImage:
    """The image that a crate is about: the name of its file, ``kind`` as ImageFile has it, its
    digest (a SIF's and a tar's is the file's, an OCI directory's the manifest's).
    """

    name: str
    kind: str
    digest: Digest


@dataclass(frozen=True)
class CrateFile:
    """A file that lies in the crate; ``identifier`` is its name as a URI has it."""

    name: str
    digest: Digest
    size: int

    @property
    def identifier(self) -> str:
        return quote(self.name)


@dataclass(frozen=True)
class CrateText:
    """What the caller says of a crate; ``author`` made the audit."""

    created: str
    licence: str = ""
    author: Person | None = None


def audit_graph(
    recipe: Recipe, notebook: CrateFile, image: CrateImage, version: str, text: CrateText
) -> Graph:
    """The graph with the audit as a run of the notebook; ``version`` is that of this nbrw."""
    title = recipe.title or "notebook"
    about = f"The Jupyter notebook {title}, the audit of its run by nbrw, and the image made of it"
    graph = begin(title, about, text.created, text.licence)
    add_languages(graph, recipe.environment.python_version)
    graph.add(
        ENGINE,
        "SoftwareApplication",
        name="nbrw",
        url=ENGINE,
        softwareVersion=recipe.created_by.removeprefix("nbrw ") or version,
    )
    _add_image(graph, image, recipe)
    tools = {found.cell: tool_of(notebook.identifier, found.cell) for found in recipe.checkpoints}
    workflow = add_workflow(graph, notebook, title, code_cells(recipe.notebook), tools)
    graph.entities[ROOT]["mainEntity"] = ref(workflow)
    inputs, outputs = _inputs(graph, recipe), _outputs(graph, recipe)
    parameters = [_parameter(graph, name, value) for name, value in recipe.parameters.items()]
    _formal(graph, workflow, "input", {*inputs.values()})
    _formal(graph, workflow, "output", {*(i for found in outputs.values() for i in found)})
    for identifier in parameters:
        formal = graph.entities[identifier]["exampleOfWork"]["@id"]
        graph.add_to(workflow, "input", formal)
    failed = [c.cell for c in recipe.checkpoints if c.status != "ok"]
    agent = None
    if text.author is not None:
        agent = ref(graph.person(text.author))
        graph.entities[ROOT]["author"] = agent
    run = graph.action(
        "#audit",
        bool(failed),
        name=f"Audit of {title}",
        description="The notebook was run once, on its author's machine, its system calls traced",
        instrument=ref(workflow),
        object=refs([*inputs.values(), *parameters]),
        result=refs(identifier for found in outputs.values() for identifier in found),
        agent=agent,
        error=f"cell {failed[0]} failed" if failed else "",
    )
    done = [
        _audited(graph, recipe, workflow, found, inputs, outputs) for found in recipe.checkpoints
    ]
    organize(graph, run, "audit", done, agent)
    return graph


def add_languages(graph: Graph, python: str) -> None:
    """Python and Jupyter."""
    graph.add(_PYTHON, "ComputerLanguage", name="Python", url=ref(_PYTHON), version=python)
    graph.add(
        _JUPYTER,
        "ComputerLanguage",
        name="Jupyter Notebook",
        url="https://jupyter.org/",
        identifier="https://nbformat.readthedocs.io/",
    )


def add_workflow(
    graph: Graph,
    notebook: CrateFile,
    title: str,
    cells: Sequence[Cell],
    tools: Mapping[int, str],
    **properties: Any,
) -> str:
    """A notebook as a workflow, its code cells as steps, and as the tools that these start.

    ``tools`` are those by the number of the cell; cells without one are no step, as a step must
    have been run (Provenance Run Crate).
    """
    graph.add(
        notebook.identifier,
        ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        name=title,
        conformsTo=ref(_WORKFLOW),
        encodingFormat="application/x-ipynb+json",
        programmingLanguage=ref(_JUPYTER),
        sha256=notebook.digest.hex,
        contentSize=str(notebook.size),
        version=notebook.digest.hex[:12],
        step=refs(step_of(notebook.identifier, number) for number in tools),
        hasPart=refs(tools.values()),
        **properties,
    )
    graph.add(_WORKFLOW, "CreativeWork", name="ComputationalWorkflow", version="1.0-RELEASE")
    graph.add_to(ROOT, "hasPart", notebook.identifier)
    for cell in cells:
        if cell.number not in tools:
            continue
        lines = [line for line in cell.source.splitlines() if line.strip()]
        tool = graph.add(
            tools[cell.number],
            "SoftwareSourceCode",
            name=f"cell {cell.number}",
            description=lines[0] if lines else "an empty cell",
            programmingLanguage=ref(_PYTHON),
            text=cell.source,
            version=cell.digest.hex[:12],
        )
        graph.add(
            step_of(notebook.identifier, cell.number),
            "HowToStep",
            name=f"cell {cell.number}",
            position=str(cell.number),
            workExample=ref(tool),
        )
    return notebook.identifier


def step_of(notebook: str, cell: int) -> str:
    """The identifier of a cell as a step."""
    return f"{notebook}#step-{cell}"


def tool_of(notebook: str, cell: int) -> str:
    """The identifier of a cell as code."""
    return f"{notebook}#cell-{cell}"


def organize(graph: Graph, run: str, name: str, actions: list[tuple[str, str]], agent: Any) -> None:
    """Say that nbrw ran the steps (step, action) of a run, and that the crate mentions it."""
    controls = [
        graph.add(
            f"#control-{action.removeprefix('#')}",
            "ControlAction",
            name=f"orchestrate {graph.entities[action]['name']}",
            instrument=ref(step),
            object=ref(action),
        )
        for step, action in actions
    ]
    if controls:
        graph.add(
            f"#organize-{name}",
            "OrganizeAction",
            name=f"Run of nbrw: {name}",
            instrument=ref(ENGINE),
            object=refs(controls),
            result=ref(run),
            agent=agent,
        )
    for identifier in (run, *(action for _, action in actions)):
        graph.add_to(ROOT, "mentions", identifier)


def _add_image(graph: Graph, image: CrateImage, recipe: Recipe) -> None:
    kind = "SIFImage" if image.kind == "sif" else "DockerImage"
    graph.add(
        IMAGE,
        "ContainerImage",
        name=image.name,
        additionalType=ref(_TERMS + kind),
        sha256=image.digest.hex,
        description=f"{image.kind}, written by {recipe.created_by or 'nbrw'}",
    )
    graph.add_to(ROOT, "mentions", IMAGE)


def _inputs(graph: Graph, recipe: Recipe) -> dict[str, str]:
    """Entities of the files that the notebook read and did not make, by path."""
    found = {}
    for data in recipe.dependencies.data:
        if data.state is DataState.READ and data.digest is not None:
            found[data.path] = graph.content(data.path, data.digest, data.size)
            graph.add_to(ROOT, "hasPart", found[data.path])
    return found


def _outputs(graph: Graph, recipe: Recipe) -> dict[int, list[str]]:
    """Entities of the files that each cell wrote."""
    found: dict[int, list[str]] = {}
    for checkpoint in recipe.checkpoints:
        for stored in checkpoint.files:
            if not stored.directory and not stored.link:
                identifier = graph.content(stored.path, stored.digest, stored.size)
                graph.add_to(ROOT, "hasPart", identifier)
                found.setdefault(checkpoint.cell, []).append(identifier)
    return found


def _parameter(graph: Graph, name: str, value: Any) -> str:
    formal = graph.add(
        f"#parameter-{name}",
        "FormalParameter",
        name=name,
        additionalType=_TYPES.get(type(value), "Text"),
        conformsTo=ref(_PARAMETER),
        workExample=ref(f"#value-{name}"),
    )
    text = value if isinstance(value, (str, int, float)) else repr(value)
    return graph.add(
        f"#value-{name}", "PropertyValue", name=name, value=text, exampleOfWork=ref(formal)
    )


def _formal(graph: Graph, workflow: str, place: str, identifiers: set[str]) -> None:
    """A formal parameter of the workflow for each of these files."""
    graph.add(_PARAMETER, "CreativeWork", name="FormalParameter", version="1.0-RELEASE")
    for identifier in sorted(identifiers):
        entity = graph.entities[identifier]
        formal = graph.add(
            f"#{place}-{entity['sha256'][:12]}",
            "FormalParameter",
            name=entity["name"],
            additionalType="File",
            conformsTo=ref(_PARAMETER),
            workExample=ref(identifier),
        )
        graph.add_to(workflow, place, formal)
        graph.add_to(identifier, "exampleOfWork", formal)


def _audited(
    graph: Graph,
    recipe: Recipe,
    workflow: str,
    checkpoint: Checkpoint,
    inputs: dict[str, str],
    outputs: dict[int, list[str]],
) -> tuple[str, str]:
    cell = checkpoint.cell
    read = [
        inputs[data.path]
        for data in recipe.dependencies.data
        if data.path in inputs and cell in data.cells and data.state is DataState.READ
    ]
    failed = checkpoint.status != "ok"
    action = graph.action(
        f"#audit-cell-{cell}",
        failed,
        name=f"cell {cell} in the audit",
        description=f"It took {checkpoint.seconds:.3f} s",
        instrument=ref(tool_of(workflow, cell)),
        object=refs(read),
        result=refs(outputs.get(cell, [])),
        resourceUsage=ref(graph.took(f"#audit-cell-{cell}-duration", checkpoint.seconds)),
        error="the cell raised an error" if failed else "",
    )
    return step_of(workflow, cell), action
