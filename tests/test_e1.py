import numpy as np
import torch

import residua as rs
from residua.dynamics.residual_map import first_pre_activation, residual_map
from residua.report.dynamics_figures import overlay_section
from residua.report.page import Words, write_sections
from residua.studies.e1 import departure, trajectories


def test_the_map_lies_on_the_network_and_eq_3_beside_it(tmp_path):
    torch.manual_seed(0)
    net = rs.ResNet(2, 3, 2).double()
    with torch.no_grad():
        net.blocks[0].linear.weight.mul_(8)
    data = rs.load_data("circles")
    x, y = data.test.x[:100].double(), data.test.y[:100]
    found = trajectories(net, x, y, data.classes)
    assert dict(found.sizes) == {"layer": 15, "class": 2, "unit": 3}
    assert float(np.abs(found["network"] - found["map"]).max()) < 1e-12
    assert float(np.abs(found["network"] - found["ode"])[0].max()) < 1e-12  # one start for all
    assert float(np.abs(found["network"] - found["ode"]).max()) > 1e-3
    gaps = departure(residual_map(net).W, first_pre_activation(net, x))
    drawn = overlay_section(found.assign(departure=gaps))
    write_sections(tmp_path / "page.html", Words("E1", "headline"), {"seed 0": drawn})
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "network, r = 0.5" in page
    assert ">unit 2</option>" in page
    assert "the arrays hold no plane_unit, no direction, no nullcline, no map_path" in page

    half, quarter, eighth = (gaps.sel(step_size=h) for h in (0.5, 0.25, 0.125))
    assert (eighth < 0.7 * quarter).all()  # first order in h
    assert (quarter < 0.7 * half).all()
    assert (gaps.sel(step_size=1).diff("gain") > 0).all()  # and growing with W
