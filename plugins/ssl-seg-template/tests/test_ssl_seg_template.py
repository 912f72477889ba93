from ssl_seg.testing import check_method

from ssl_seg_template import TemplateMethod


def test_contract():
    check_method(TemplateMethod)
