"""Which destinations have to be there before a night is numbered."""

from ledger.disk.nights import find_night
from tests.world import DATE


def test_a_destination_of_products_without_frame_ids_need_not_be_there(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("onecamera",), pipeline="engineering")
    world.simulate(scale=0.02, scenario=("onecamera",))
    night = find_night(world.config, folder=world.folder / "engineering" / DATE)
    assert world.machine().advance(night).succeeded
    (world.folder / "destination" / "engineering").rename(world.folder / "away")
    assert world.advance().succeeded
