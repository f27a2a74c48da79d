// What the server serves as uplot.js is the package's own file.
import uPlot from 'uplot';

export default uPlot;
