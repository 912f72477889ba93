"""Plugins that are broken, one way each."""

from benchmarks.faults.plugin_code import (
    FORWARD,
    INIT,
    RESET,
    SAMPLES,
    SHAPE,
    TOP,
    UPDATE,
    Broken,
    backbone,
    brings,
    dataset,
    head,
    method,
    metric,
)

BROKEN = (
    # the package
    Broken("it cannot be imported", "backbones", "import nowhere_to_be_found\n", refused=True),
    Broken("its syntax is wrong", "backbones", "def broken(:\n", refused=True),
    Broken("it exits when it is imported", "backbones", "import sys\nsys.exit(0)\n", refused=True),
    Broken("it raises when it is imported", "backbones", "raise RuntimeError('\\x1b[31mno')\n", refused=True),
    Broken("it interrupts when it is imported", "backbones", "raise KeyboardInterrupt\n", refused=True),
    Broken("it ends the process when it is imported", "backbones", "import os\nos._exit(0)\n", refused=True),
    Broken(
        "it closes stdout when it is imported", "backbones", "import sys\nsys.stdout.close()\n", refused=True
    ),
    Broken(
        "it changes what is everybody's",
        "observer",
        "import os, random, signal, sys\nimport numpy, torch\n"
        "torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\ntorch.manual_seed(1)\n"
        "numpy.random.seed(1)\nrandom.seed(1)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.chdir('/')\nsys.stdout = sys.stderr = None\n",
        refused=True,
    ),
    Broken("its module is missing", "backbones", "", refused=True, entry="[ssl_seg]\nbroken = gone_module\n"),
    Broken(
        "its object is missing",
        "backbones",
        "",
        refused=True,
        entry="[ssl_seg]\nbroken = ssl_seg_broken:gone\n",
    ),
    Broken("its entry points are no text", "backbones", "", refused=True, raw=b"[ssl_seg]\n\xff\xfe = x\n"),
    Broken("its entry points have no form", "backbones", "", refused=True, raw=b"[ssl_seg]\nnothing\n"),
    Broken("its metadata have no name", "observer", "", metadata="Metadata-Version: 2.1\n"),
    Broken(
        "its hook is misspelt",
        "backbones",
        f"{TOP}\n@hookimpl\ndef backbone():\n    return {{}}\n",
        refused=True,
    ),
    Broken(
        "its hook takes what there is not",
        "backbones",
        f"{TOP}\n@hookimpl\ndef backbones(x):\n    return {{}}\n",
        refused=True,
    ),
    Broken("its hook raises", "backbones", brings("backbones", "1 / 0"), refused=True),
    Broken("its hook exits", "backbones", brings("backbones", "exit(0)"), refused=True),
    Broken(
        "its hook ends the process",
        "backbones",
        brings("backbones", "__import__('os')._exit(0)"),
        refused=True,
    ),
    Broken("its hook returns a list", "backbones", brings("backbones", '["broken"]'), refused=True),
    Broken("its hook names a number", "backbones", brings("backbones", "{3: Backbone}"), refused=True),
    Broken("two bring one name", "backbones", backbone(SHAPE + FORWARD), twice=True),
    # the factory
    Broken("its factory is a text", "backbones", brings("backbones", '{"broken": "resnet"}')),
    Broken("its factory raises", "backbones", brings("backbones", '{"broken": lambda: 1 / 0}')),
    Broken("its factory exits", "backbones", brings("backbones", '{"broken": lambda: exit(0)}')),
    Broken("its factory makes a number", "backbones", brings("backbones", '{"broken": lambda: 3}')),
    Broken("its factory makes nothing", "ssl", brings("ssl", '{"broken": lambda backbone: None}')),
    Broken("its factory takes too much", "ssl", brings("ssl", '{"broken": lambda backbone, more: None}')),
    Broken(
        "its annotations name nothing",
        "backbones",
        brings("backbones", '{"broken": f}', 'def f(*, x: "Gone" = 1): ...\n'),
    ),
    Broken(
        "it is lazy, and raises",
        "backbones",
        brings(
            "backbones",
            "L(broken=1)",
            "class L(dict):\n    def __getitem__(self, key):\n        raise KeyError(key)\n",
        ),
    ),
    # what is made
    Broken("no channels", "backbones", backbone(INIT + FORWARD)),
    Broken(
        "features that are no list",
        "backbones",
        backbone(SHAPE + "def forward(self, images):\n    return 3\n"),
    ),
    Broken("other channels than it says", "backbones", backbone(SHAPE.replace("(8,)", "(9,)") + FORWARD)),
    Broken(
        "forward raises",
        "backbones",
        backbone(SHAPE + "def forward(self, images):\n    raise KeyError('x')\n"),
    ),
    Broken("forward exits", "backbones", backbone(SHAPE + "def forward(self, images):\n    exit(0)\n")),
    Broken("a step raises", "ssl", method("def training_step(self, views):\n    return {}['loss']\n")),
    Broken(
        "a step without a loss",
        "ssl",
        method("def training_step(self, views):\n    return {'los': views[0].sum()}\n"),
    ),
    Broken("a step that is a number", "ssl", method("def training_step(self, views):\n    return 3.0\n")),
    Broken(
        "a loss for each image",
        "ssl",
        method(
            "def training_step(self, views):\n    return {'loss': self.backbone(views[0])[0].mean((1, 2, 3))}\n"
        ),
    ),
    Broken(
        "a loss without a gradient",
        "ssl",
        method("def training_step(self, views):\n    return {'loss': views[0].sum()}\n"),
    ),
    Broken(
        "a step with text in it",
        "ssl",
        method(
            "def training_step(self, views):\n    return {'loss': self.backbone(views[0])[0].mean(), 'x': 'y'}\n"
        ),
    ),
    Broken("a step that exits", "ssl", method("def training_step(self, views):\n    exit(0)\n")),
    Broken(
        "a step that interrupts",
        "ssl",
        method("def training_step(self, views):\n    raise KeyboardInterrupt\n"),
    ),
    Broken(
        "a step that closes stdout",
        "ssl",
        method("def training_step(self, views):\n    import sys\n    sys.stdout.close()\n"),
    ),
    Broken(
        "views that are none",
        "ssl",
        method("def training_step(self, views):\n    return {'loss': 0}\n", "self.views = 3"),
    ),
    Broken(
        "after_step exits",
        "ssl",
        method(
            "def training_step(self, views):\n    return {'loss': self.backbone(views[0])[0].mean()}\ndef after_step(self, progress):\n    exit(0)\n"
        ),
    ),
    Broken(
        "a head of another shape",
        "heads",
        head("heads", "return torch.zeros(len(features[-1]), 1, requires_grad=True)"),
    ),
    Broken("a head that raises", "heads", head("heads", "raise ValueError('x')")),
    Broken(
        "a head of pixels of another size",
        "pixels",
        head("pixels", "return torch.zeros(len(features[-1]), 3, 2, 2, requires_grad=True)"),
    ),
    # data and numbers
    Broken("no samples", "datasets", dataset("def __init__(self, root, split):\n    pass\n")),
    Broken(
        "samples that are none",
        "datasets",
        dataset("def __init__(self, root, split):\n    self.classes, self.samples = (), [1, 2, 3]\n"),
    ),
    Broken(
        "an image raises",
        "datasets",
        dataset(
            SAMPLES
            + "def identity(self, i):\n    return str(i)\ndef image(self, i, canvas):\n    raise KeyError(i)\n"
        ),
    ),
    Broken(
        "an image exits",
        "datasets",
        dataset(
            SAMPLES + "def identity(self, i):\n    return str(i)\ndef image(self, i, canvas):\n    exit(0)\n"
        ),
    ),
    Broken(
        "an image that is none",
        "datasets",
        dataset(
            SAMPLES
            + "def identity(self, i):\n    return str(i)\ndef image(self, i, canvas):\n    return None\n"
        ),
    ),
    Broken(
        "a metric that raises",
        "metrics",
        metric(RESET + "def update(self, logits, target):\n    raise KeyError('x')\n"),
    ),
    Broken(
        "a metric that is no number",
        "metrics",
        metric(RESET + UPDATE + "def compute(self):\n    return {'broken': 'high'}\n"),
    ),
    Broken(
        "a metric that is no table",
        "metrics",
        metric(RESET + UPDATE + "def compute(self):\n    return 0.5\n"),
    ),
    Broken("a metric that exits", "metrics", metric(RESET + UPDATE + "def compute(self):\n    exit(0)\n")),
    # observers and commands
    Broken(
        "an observer raises",
        "observer",
        f"{TOP}\n@hookimpl\ndef epoch_end(run, epoch, scores):\n    raise KeyError('x')\n",
    ),
    Broken("an observer exits", "observer", f"{TOP}\n@hookimpl\ndef run_start(run):\n    exit(3)\n"),
    Broken(
        "an observer empties the scores",
        "observer",
        f"{TOP}\n@hookimpl\ndef epoch_end(run, epoch, scores):\n    scores.clear()\n",
    ),
    Broken(
        "a command that is none",
        "command",
        "broken = 3\n",
        entry="[ssl_seg.commands]\nbroken = ssl_seg_broken:broken\n",
    ),
    Broken(
        "a command that cannot be imported",
        "command",
        "1 / 0\n",
        entry="[ssl_seg.commands]\nbroken = ssl_seg_broken:app\n",
    ),
    Broken(
        "a command that raises",
        "command",
        "import typer\napp = typer.Typer()\n@app.command()\ndef x():\n    raise KeyError('x')\n",
        entry="[ssl_seg.commands]\nbroken = ssl_seg_broken:app\n",
    ),
)
