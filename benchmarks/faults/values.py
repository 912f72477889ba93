"""What people, programs and enemies write where something else is wanted."""


def _words(text: str) -> list[str]:
    return text.split()


# whole and broken numbers, and what looks like one
NUMBERS = (
    *_words(
        "0 -1 1 2 3 7 -0 00 1.5 1e3 1e400 -1e400 nan inf -inf 1e-320 0x10 1_000 １２ ٣ +1 1,5 ten True None"
    ),
    *_words("[] 1/0 1e -- 1e308 0.9 0.95 1000000 -9223372036854775809"),
    *("9" * 18, "9" * 30, str(2**31), str(2**63), str(2**64), "", " ", "1 "),
)
# names, paths and texts; `{lab}` and `{train}` are replaced by folders
TEXTS = (
    *(
        "",
        " ",
        "\n",
        "a\nb",
        "\t",
        "x" * 300,
        "x" * 5000,
        "\udcff",
        "\x1b[31mred",
        "a\rb",
        "\u202e",
        "\u2028",
    ),
    *_words(
        "ä 日本 %s {} {0} ../x . .. ~ ~nosuchuser/x $HOME * a/b/c none null - -- -x : , ,, = a:b:c 0 __class__"
    ),
    *_words("x.py:Y missing.py:Y tiny resnet999 byol os.system nope:x timm:resnet18x"),
    *_words("demo:0 demo:-1 demo:x demo: demo:3 demo_masks:1 csv:missing.csv csv_labels:"),
    *_words(
        "{lab}/photos {lab}/labelled {lab}/pairs {lab}/home {lab}/photos/000.png {lab}/pairs/palette.json"
    ),
    *_words("{train} {classify} {segment} {train}/backbone.safetensors {classify}/model.safetensors"),
    *_words("{train}/run.toml {train}/checkpoints {train}/scores.jsonl mask_pairs:{lab}/photos"),
)
# `-o PART.KEY=VALUE`
PARTS = ("ssl", "backbone", "head", "data", "val", "probe", "metric", "nope", "")
KEYS = (*_words("hidden dimensions decay width count k temperature palette stray nope root"), "")
MALFORMED = (*_words("= ssl ssl. ssl.=  .x=1 ssl.hidden ssl.hidden== a.b.c=1 ssl.é=1"), "", "ssl hidden=1")

# behind a key of a TOML file
VALUES = (
    *_words(
        "0 -1 1e400 nan -inf true [] [[]] {} 1979-05-27 1979-05-27T07:32:00Z 07:32:00 0x10 1_0 +1 .5 ' null"
    ),
    *(
        "9" * 20,
        "9" * 5000,
        '""',
        '"x"',
        "{a = 1}",
        '["a", 1]',
        '"\\u0000"',
        '"\\ud800"',
        '"a\\nb"',
        "'''x'''",
    ),
    *(
        "[" * 200 + "]" * 200,
        "{a.b.c.d = 1}",
        '"../../x"',
        '"none"',
        "None",
        "",
        '"\\u001b[31m"',
        '"\\u202e"',
    ),
    *("[0, 0]", "[-1]", '["0"]', "[1.5]", '"x.py:Y"', '"os.system"'),
)
# a line of a TOML file
LINES = (
    *("nope = 1", "[o]", "[o.ssl]", "o = 1", "o.ssl = 1", "o.nope.x = 1", "[record]", "record = 1", "[", "]"),
    *("=", "a", "epochs = 1", "config = 'x'", "resume = true", "out = 3", "[[stages]]", "[stages.pre]"),
    *(
        "[stages]",
        "[tables]",
        '"" = 1',
        "'a b' = 1",
        "\x00",
        "\x1b[31m",
        "# \ud800",
        "seeds = 3",
        "command = 1",
    ),
    *("help = true", "option = ['x']", "[o.ssl.hidden]", "[defaults.o]", "report = 1", "report = true"),
    *("version = true", "debug = true", "x." * 300 + "x = 1"),
)
# a field of a CSV file
FIELDS = ("", '"', "a,b", "x" * 9000, "\x00", "../../x.png", "/etc/passwd", "ä", "=1+1", " ", "\ud800", "'")
# a colour of a palette
COLOURS = (
    None,
    [],
    [0, 0],
    [0, 0, 256],
    [0, 0, -1],
    [0, 0, 0.5],
    ["0", 0, 0],
    "red",
    3,
    {},
    [0, 0, 1e400],
    [255, 0, 0],
)
