"""What every command on nights works with: configuration, database, declared pipelines, stages, and whom it tells."""

from ledger.config.model import Config
from ledger.config.stages import load_stages
from ledger.db.store import Store
from ledger.night.pipeline import pipelines
from ledger.report import Reporter, Result, Silent, Stop


class Context:
    """An open ledger.

    Parameters
    ----------
    config : Config
        All of it.
    store : Store
        An initialised database.
    reporter : Reporter, optional
        Is told of progress.
    jobs : int, optional
        Workers, instead of the configuration's.
    stop : Stop, optional
        Set by a signal handler.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        reporter: Reporter | None = None,
        jobs: int | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.reporter = reporter or Silent()
        self.jobs = jobs
        self.stop = stop or Stop()
        self.pipelines = pipelines(config)
        self.stages = load_stages(config)
        self.results: list[Result] = []  # of all runs, for alerts
        store.open()
        store.check_declared(self.pipelines.values())
