from ssl_seg import BYOL_VIEWS, SSLMethod, all_gather, full_precision, hookimpl, mlp


@full_precision
def barlow_loss(one, two, weight):
    one, two = all_gather(one), all_gather(two)  # the images of all processes
    correlation = one.T @ two / len(one)
    same = correlation.diagonal()
    return (1 - same).square().sum() + weight * (correlation.square().sum() - same.square().sum())


class TemplateMethod(SSLMethod):
    """Example: Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230)."""

    views = BYOL_VIEWS

    def __init__(self, backbone, *, width: int = 1024, weight: float = 0.005):
        super().__init__()
        self.backbone, self.weight = backbone, weight
        self.projector = mlp(backbone.channels[-1], width, width, last_norm=True)

    def training_step(self, views):
        one, two = (self.projector(self.backbone.summary(view)) for view in views)
        return {"loss": barlow_loss(one, two, self.weight), "embedding": one}


@hookimpl
def ssl_methods():
    return {"template": TemplateMethod}
