// The server serves the package's own file as uplot.js.
import uPlot from 'uplot';

export default uPlot;
