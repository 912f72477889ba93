"""The library's logger."""

import logging

log = logging.getLogger("ssl_seg")
