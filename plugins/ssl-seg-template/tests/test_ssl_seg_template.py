from ssl_seg.testing import check_method

from ssl_seg_template import TemplateMethod


def test_it_keeps_the_contract():
    check_method(TemplateMethod)
